"""What makes a run step back, to a smaller level or from predicting altogether, and says so.

Three things are looked after: that nobody adds to the hidden state between blocks that are predicted together, that
what is kept fits in the memory there is, and that predicting from what was kept gives back what was computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from .calls import BlockCall, Streams, Watch
from .predictors import REUSE
from .sites import STEP_DOWN, Site
from .state import Branch

if TYPE_CHECKING:
    from .engine import Run

TOLERATED = 8  # roundings by which a prediction on identical input may be off


class Safety:
    """Of one run. off: why everything is computed, or None. separate: why blocks must not be predicted together."""

    def __init__(self, run: Run, memory_budget: Callable[[], float] | None, separate: str | None):
        self.run, self.separate = run, separate
        self.off = self._why_off()
        self._ask_budget, self._budget = memory_budget, 0.0
        self._watch = Watch()
        self._checked = False

    def _why_off(self) -> str | None:
        steps, least = len(self.run.decider.schedule), self.run.config.block_cache.min_steps
        plan = self.run.decider.plan
        if plan is not None and plan.mask.is_for(self.run.decider.schedule):
            return None  # calibration found out for just these
        return f"{steps} steps are too few to skip any, it takes {least}" if steps < least else None

    def begin_call(self) -> None:
        self._watch = Watch()

    def entering(self, call: BlockCall) -> None:
        """A block is reached: is its input what the block before it at the same site returned?"""
        alarm = self._watch.entering(call) if call.index != self.run.cut.at[call.index].first else None
        if alarm is not None:
            self.run.decider.alarms.append(alarm)

    def leaving(self, call: BlockCall, streams: Streams) -> None:
        """A block was computed and returned these streams."""
        if self.run.cut.at[call.index].last not in call.blocks:
            self._watch.leaving(call, streams)

    def heed(self) -> None:
        """What was read may forbid to predict blocks together, or to predict at all."""
        if self.run.decider.alarmed and self.separate is None:
            # A stack's residual would add once more what is added in between.
            self.separate = "something adds to the hidden state between blocks"
            self.cut_at("block", f"Blocks are predicted one by one: {self.separate}.")
        if self.run.decider.worst_check > 1 and not self.off:
            self._switch_off(
                "the self-check failed, because on identical input a prediction differed from the computed blocks by "
                f"{self.run.decider.worst_check:.3g} times what rounding explains"
            )
            self.run.report.failed = True

    def heed_order(self, call: BlockCall, branches: Sequence[Branch]) -> None:
        """Lists of blocks take turns, so that what a site does is not its blocks' work alone."""
        if self.separate is None and not self.off:
            self.separate = "blocks of several lists take turns"
            self.cut_at("block", f"Blocks are predicted one by one: {self.separate}.")
            self.respect_budget(call, branches)

    def respect_budget(self, call: BlockCall, branches: Sequence[Branch]) -> None:
        """Before anything is kept of new branches: go down to a level that the memory suffices for."""
        if self._ask_budget is None or self.off or all(branch.computed_at for branch in branches):
            return
        device = call.tokens.device
        self._budget = self._budget or self.run.ranks.smallest(self._ask_budget(), device)
        while (needed := self._planned_bytes(call, len(branches), device)) > self._budget and not self.off:
            self._step_down(
                f"{needed / 2**20:.1f} MB would be kept, more than the {self._budget / 2**20:.1f} MB there are"
            )

    def _planned_bytes(self, call: BlockCall, branches: int, device: torch.device) -> float:
        each = self.run.memory.planned_bytes(call, branches, self.run.decider.selecting)
        return self.run.ranks.largest(each * len(self.run.state.branches), device)

    def _step_down(self, short: str) -> None:
        run, lower = self.run, STEP_DOWN.get(self.run.cut.level)
        if run.decider.selecting:
            run.decider.give_up_tokens()
            for branch in run.state.branches.values():
                branch.keys_values.clear()
            run.report.note(f"Tokens are not selected: {short}.")
        elif lower is None or self.separate:
            cure = "; the level stack keeps less" if run.cut.level == "sublayer" else ""
            self._switch_off(short + cure)
        else:
            self.cut_at(lower, f"Blocks are predicted per {lower}: per {run.cut.level}, {short}.")

    def self_check(
        self, branches: Sequence[Branch], site: Site, entries: Streams, residuals: Streams, out: Streams
    ) -> None:
        """Once a run, predict what was just computed from the same input: it must come out, within rounding."""
        if self._checked:
            return
        self._checked, run = True, self.run
        entries = {name: entries[name] for name in residuals}
        again = run.memory.predict(branches, site, entries, run.place, REUSE)
        for name, y in again.items():
            kept = torch.cat([branch.histories[site, name].residual(y.device) for branch in branches])
            largest = torch.stack([part.abs().amax() for part in (entries[name], residuals[name], out[name], kept)])
            rounding = torch.finfo(y.dtype).eps * largest.amax().float() + torch.finfo(torch.float32).tiny
            run.decider.checks.append((y - out[name]).abs().amax().float() / (TOLERATED * rounding))

    def cut_at(self, level: str, why: str | None = None) -> None:
        """Go on at another level; what was kept does not fit it."""
        if self.run.cut.level == level:
            return
        self.run.cut.cut(level)
        self.run.state.clear()
        self.run.report_cut()
        if why:
            self.run.report.restarts.append(len(self.run.report.evaluations) - 1)
            self.run.report.note(why)

    def _switch_off(self, why: str) -> None:
        self.off = why
        self.run.state.clear()
        self.run.decider.leads.clear()
        self.run.report.note(f"FastCache is off for this run: {why}.")
