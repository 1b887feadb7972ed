"""Every family that this ComfyUI has, tried on a toy model: exact, or with a reason why it is left alone."""

from __future__ import annotations

import pytest

from .conformance import TOYS, Row, examine, missing_in


@pytest.fixture(scope="session")
def missing(server):
    return missing_in(server)


def check(row: Row) -> None:
    if row.identical is None:
        pytest.skip(row.reason)
    assert row.exact, row


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if toy.family])
def test_a_family_is_exact_or_says_why_not(server, missing, name):
    check(examine(server, name, missing))


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if toy.references])
def test_a_family_with_reference_or_control_tokens_is_exact_or_says_why_not(server, missing, name):
    check(examine(server, name, missing, references=True))
