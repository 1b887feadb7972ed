"""Fixtures shared by the suites: one real ComfyUI with the pack for all host and browser tests of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent

# A busy two-core machine misses hypothesis' default deadline of 200 ms by chance.
settings.register_profile("fastcache", deadline=None)
settings.load_profile("fastcache")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A running ComfyUI with the pack, the demo's nodes and model, on a base directory of its own."""
    yield from running_server(tmp_path_factory.mktemp("comfyui"))


def running_server(folder: Path, *arguments: str) -> Iterator[ComfyServer]:
    """A ComfyUI that runs while this generator waits, on `folder`, with more arguments for its main.py."""
    # Imported here, because the unit tests need none of ComfyUI's requirements.
    from hosting.comfy_server import ComfyServer
    from hosting.layout import prepare_base
    from hosting.process import CPU_ARGUMENTS, ComfyError

    base = prepare_base(folder, ROOT, tests=True)
    try:
        running = ComfyServer.from_environment(base, arguments=(*CPU_ARGUMENTS, *arguments))
        running.start()
    except ComfyError as error:
        sentence = str(error)
    else:
        yield running
        running.stop()
        return
    # Outside the except clause, so that the sentence stands alone, without the traceback that led to it.
    pytest.fail(sentence, pytrace=False)
