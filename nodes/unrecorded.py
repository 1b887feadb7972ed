"""Keeping what outlives a block out of ComfyUI's record of allocations.

From version 0.35 on, ComfyUI may record what a block allocates, and give that memory to others once it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

Paused = Callable[[], AbstractContextManager]  # makes a context in which nothing is recorded, to be entered once


class Unrecorded:
    """A context in which nothing is recorded, but for where it is `lifted`."""

    def __init__(self, paused: Paused):
        self._paused, self._entered = paused, ExitStack()

    def __enter__(self) -> Unrecorded:
        self._entered.enter_context(self._paused())
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Here it is as if the context had not been entered: what a block does belongs to the record."""
        self._entered.close()
        try:
            yield
        finally:
            self._entered.enter_context(self._paused())
