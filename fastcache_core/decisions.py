"""One decision per evaluation and view: predict all blocks, compute them, or compute some of their tokens.

A view is a part of the picture that conditionings look at: the whole of it, an area, a context window. The decision is
taken when the first block is reached, and holds for all branches with that view, with one device synchronisation: the
change of the entry state, the number of active tokens, sigma, and the errors measured at the evaluation before come to
the host together.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .config import FastCacheConfig
from .policies import MEASURES, Facts, reason_to_compute
from .signals import TINY, relative_change, token_saliency
from .state import Lead, TokenAnchors
from .tokens import active_indices, choose_active


@dataclass(frozen=True)
class Decision:
    """What to do at one evaluation. active [samples, k] and mask [samples, tokens] select tokens, or are None.

    change, error: what the rule saw. anchor: index of the last evaluation that was not predicted; a branch that was not
    computed then has nothing to predict from.
    """

    predict: bool
    reason: str
    change: float | None
    error: float | None = None
    anchor: int = -1
    active: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class Measurement:
    """Of a computed site: norms of its residual and of what its prediction was off by, still on the device."""

    evaluation: int
    site: int
    view: Hashable
    change: float
    error: Tensor
    size: Tensor


@dataclass
class Evaluation:
    """One call of the denoiser for one sigma; sigma is a tensor until it is read with the first measurements."""

    index: int
    sigma: float | Tensor
    decisions: dict[Hashable, Decision] = field(default_factory=dict)


class Decider:
    """Takes the decisions of one run. sigmas: the schedule; sigma_window: (high, low), to which skipping is limited."""

    def __init__(self, config: FastCacheConfig, sigmas: Sequence[float], sigma_window: tuple[float, float]):
        self.config, self.sigma_window = config, sigma_window
        self.selecting = config.token_selector.threshold > 0
        self.steps = len(sigmas) - 1
        self.last_sigma = min(sigmas[:-1], default=0.0)
        self.leads: dict[Hashable, Lead] = {}
        self.measurements: list[Measurement] = []  # to be read at the next synchronisation
        self.realised: list[tuple[int, int, float]] = []  # read: evaluation, site, relative error
        self.alarms: list[Tensor] = []  # booleans to be read likewise
        self.alarmed = False  # whether one of them was true
        self.synchronisations = 0
        self.waited = 0.0  # seconds for which the host waited for the device, whose work is not ours

    @property
    def nbytes(self) -> int:
        return sum(lead.nbytes for lead in self.leads.values())

    def decide(self, evaluation: Evaluation, view: Hashable, h: Tensor, may_select: bool) -> Decision:
        """The evaluation's decision for this view; h [samples, tokens, width] is its entry state."""
        key = self.key(view, h)
        if key not in evaluation.decisions:
            lead = self.leads.get(key)
            select = self.selecting and may_select and lead is not None
            mask = self._active(lead, h) if select else None
            change, fewest, most = self._measure(evaluation, lead, h, mask)
            decision = self._decision(self._facts(evaluation, lead, change), lead, mask, fewest, most)
            self.leads[key] = self._next_lead(evaluation, lead, h, decision)
            evaluation.decisions[key] = decision
        return evaluation.decisions[key]

    @staticmethod
    def key(view: Hashable, h: Tensor) -> Hashable:
        return (view, *h.shape)

    def _active(self, lead: Lead, h: Tensor) -> Tensor:
        return choose_active(token_saliency(h, lead.anchors.hidden), lead.anchors.age, self.config.token_selector)

    def _measure(
        self, evaluation: Evaluation, lead: Lead | None, h: Tensor, mask: Tensor | None
    ) -> tuple[float | None, int, int]:
        """Accumulated change, fewest and most active tokens of a sample."""
        wanted = {"sigma": torch.as_tensor(evaluation.sigma)}
        if lead is not None:
            wanted["change"] = relative_change(h, lead.entry)
        if mask is not None:
            active = mask.sum(dim=1)
            wanted |= {"fewest": active.amin(), "most": active.amax()}
        if self.alarms:
            wanted["alarm"] = torch.stack(self.alarms).any()
        found = self._read(wanted, h.device)
        self.alarms, self.alarmed = [], self.alarmed or found.get("alarm", 0) > 0
        evaluation.sigma = found["sigma"]
        change = None if lead is None else found["change"] + lead.accumulated
        return change, round(found.get("fewest", 0)), round(found.get("most", 0))

    def _read(self, wanted: dict[str, Tensor], device: torch.device) -> dict[str, float]:
        """Bring scalars to the host, all in the one synchronisation of this evaluation and view; learn from errors."""
        norms = [norm for m in self.measurements for norm in (m.error, m.size)]
        together = torch.stack([number.to(device, torch.float32) for number in (*wanted.values(), *norms)])
        begun = time.perf_counter()
        numbers = together.tolist()
        self.waited += time.perf_counter() - begun
        self.synchronisations += 1
        self._learn(numbers[len(wanted) :])
        return dict(zip(wanted, numbers, strict=False))

    def _learn(self, norms: list[float]) -> None:
        """Pass errors on to the statistics of their views; errors of one evaluation's sites add up."""
        totals: dict[tuple[Hashable, float], tuple[float, float]] = {}
        for m, error, size in zip(self.measurements, norms[::2], norms[1::2], strict=True):
            self.realised.append((m.evaluation, m.site, error / (size + TINY)))
            sums = totals.get((m.view, m.change), (0.0, 0.0))
            totals[m.view, m.change] = (sums[0] + error, sums[1] + size)
        for (view, change), (error, size) in totals.items():
            self.leads[view].errors.update(error / (size + TINY), change)
        self.measurements = []

    def finish(self) -> None:
        """Read what was measured after the last decision."""
        if self.measurements:
            self._read({}, self.measurements[0].error.device)

    def _facts(self, evaluation: Evaluation, lead: Lead | None, change: float | None) -> Facts:
        sigma, (high, low) = evaluation.sigma, self.sigma_window
        return Facts(
            index=evaluation.index,
            is_last=sigma <= self.last_sigma * (1 + 1e-5),  # sigma comes back in float32
            in_window=low <= sigma <= high,
            change=change,
            error=None if change is None else lead.errors.bound(change, self.config.block_cache.alpha),
            skips=0 if lead is None else lead.skips,
            steps=self.steps,
        )

    def _decision(self, facts: Facts, lead: Lead | None, mask: Tensor | None, fewest: int, most: int) -> Decision:
        config = self.config.block_cache
        seen = (facts.change, facts.error, -1 if lead is None else lead.computed_at)
        why = reason_to_compute(facts, config)
        if why is None:
            return Decision(True, f"predicted: {MEASURES[config.rule]} within {config.threshold:g}", *seen)
        warm = facts.index >= config.warmup_evaluations
        if mask is None or not warm or facts.is_last or not facts.in_window:
            return Decision(False, why, *seen)
        if fewest == mask.shape[1]:
            threshold = self.config.token_selector.threshold
            return Decision(False, f"computed: every token changed more than {threshold:g}", *seen)
        return Decision(False, why, *seen, active_indices(mask, most), mask)

    def _next_lead(self, evaluation: Evaluation, lead: Lead | None, h: Tensor, decision: Decision) -> Lead:
        if lead is None:
            return Lead(h.clone(), TokenAnchors.fresh(h) if self.selecting else None, evaluation.index)
        lead.entry = h.clone()
        lead.skips = lead.skips + 1 if decision.predict else 0
        lead.accumulated = decision.change if decision.predict else 0.0
        lead.computed_at = lead.computed_at if decision.predict else evaluation.index
        if lead.anchors is not None:
            everything = torch.full(h.shape[:2], not decision.predict, device=h.device)
            lead.anchors.move(h, everything if decision.mask is None else decision.mask)
        return lead
