"""Fixtures of the host tests."""

from __future__ import annotations

import pytest

from .conformance import missing_in


@pytest.fixture(scope="session")
def missing(server) -> dict[str, str]:
    """The toys that the ComfyUI under test cannot build, and why."""
    return missing_in(server)
