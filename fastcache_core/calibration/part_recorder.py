"""Remembers, of a few tokens, what attention and MLP modules return in one uncached run, for their change table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from ..calls import BlockCall, Streams
from ..ranks import Alone
from .recorder import BUDGET, Range
from .schedules import change_table

MOST_TOKENS = 64  # of each sample
Recorded = list[tuple[tuple[int, Hashable], list[Tensor]]]  # outputs by module and branch, one for each evaluation


class PartRecorder:
    """In place of a `Recorder`, for a run at the level `sublayer`. budget: bytes that may be kept."""

    def __init__(self, budget: int = BUDGET):
        self.budget = budget
        self.names: list[str] = []
        self.begin_run([], 1)

    def begin_run(
        self,
        names: Sequence[str],
        steps: int,
        spans: Sequence[Range] = (),
        joined: bool = True,
        ranks: Alone | None = None,
    ) -> None:
        """A run starts, over modules of these names; one that did not end is forgotten. ranks: as in `Recorder`."""
        self.names, self._steps, self._ranks = list(names), max(1, steps), ranks or Alone()
        self._evaluations = 0
        self._outputs: dict[tuple[int, Hashable], list[Tensor]] = defaultdict(list)
        self._whole = False

    def entering(self, call: BlockCall, branches: int) -> None:
        """What a module is given does not matter."""

    def leaving(self, call: BlockCall, streams: Streams, branches: Sequence[Hashable], evaluation: int, sigma: float,
                place: float | None = None):  # fmt: skip
        """A module was computed, and this came out."""
        name, span = call.image
        if name not in streams:
            return
        self._evaluations = max(self._evaluations, evaluation + 1)
        out = streams[name][:, span.start : span.stop]
        kept = out[:, :: self._stride(out)].detach().cpu()
        for key, part in zip(branches, kept.chunk(len(branches)), strict=True):
            self._outputs[call.index, key].append(part.flatten(0, 1))

    def _stride(self, out: Tensor) -> int:
        rows, tokens, width = out.shape
        each = len(self.names) * self._steps * rows * width * out.element_size()
        most = min(MOST_TOKENS, max(1, self.budget // max(1, each)))
        return max(1, -(-tokens // most))

    def end_run(self) -> None:
        self._whole = True

    def changes(self, most_gap: int) -> Tensor | None:
        """The change table of every module, [modules, evaluations, gaps]; None where one was not always seen."""
        if not self._whole:
            return None
        recorded = [kept for rank in self._ranks.gathered(list(self._outputs.items())) for kept in rank]
        tables = [self._table(index, most_gap, recorded) for index in range(len(self.names))]
        return torch.stack(tables) if tables and all(table is not None for table in tables) else None

    def _table(self, index: int, most_gap: int, recorded: Recorded) -> Tensor | None:
        seen = [kept for (part, _), kept in recorded if part == index and len(kept) == self._evaluations]
        whole = [torch.stack(kept) for kept in seen if len({part.shape for part in kept}) == 1]
        return change_table(torch.cat(whole, dim=1), most_gap) if whole else None
