"""One decision per evaluation and view: predict all blocks, compute them, or compute some of their tokens.

A view is a part of the picture that conditionings look at: the whole of it, an area, a context window. The decision is
taken when the first block is reached, and holds for all branches with that view, with one device synchronisation: the
change of the entry state, the number of active tokens and sigma come to the host together.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .config import FastCacheConfig
from .policies import Facts, reason_to_compute
from .signals import relative_change, token_saliency
from .state import Lead, TokenAnchors
from .tokens import active_indices, choose_active


@dataclass(frozen=True)
class Decision:
    """What to do at one evaluation. active [samples, k] and mask [samples, tokens] select tokens, or are None.

    anchor: index of the last evaluation that was not predicted; a branch that was not computed then has nothing to
    predict from.
    """

    predict: bool
    reason: str
    change: float | None
    anchor: int = -1
    active: Tensor | None = None
    mask: Tensor | None = None


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
        self.alarms: list[Tensor] = []  # booleans to be read at the next synchronisation
        self.alarmed = False  # whether one of them was true
        self.synchronisations = 0
        self.waited = 0.0  # seconds for which the host waited for the device, whose work is not ours

    @property
    def nbytes(self) -> int:
        return sum(lead.nbytes for lead in self.leads.values())

    def decide(self, evaluation: Evaluation, view: Hashable, h: Tensor, may_select: bool) -> Decision:
        """The evaluation's decision for this view; h [samples, tokens, width] is its entry state."""
        key = (view, *h.shape)
        if key not in evaluation.decisions:
            lead = self.leads.get(key)
            select = self.selecting and may_select and lead is not None
            mask = self._active(lead, h) if select else None
            change, fewest, most = self._measure(evaluation, lead, h, mask)
            decision = self._decision(self._facts(evaluation, lead, change), lead, mask, fewest, most)
            self.leads[key] = self._next_lead(evaluation, lead, h, decision)
            evaluation.decisions[key] = decision
        return evaluation.decisions[key]

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
        """Bring scalars to the host, all in the one synchronisation of this evaluation and view."""
        together = torch.stack([number.to(device, torch.float32) for number in wanted.values()])
        begun = time.perf_counter()
        numbers = together.tolist()
        self.waited += time.perf_counter() - begun
        self.synchronisations += 1
        return dict(zip(wanted, numbers, strict=True))

    def _facts(self, evaluation: Evaluation, lead: Lead | None, change: float | None) -> Facts:
        sigma, (high, low) = evaluation.sigma, self.sigma_window
        return Facts(
            index=evaluation.index,
            is_last=sigma <= self.last_sigma * (1 + 1e-5),  # sigma comes back in float32
            in_window=low <= sigma <= high,
            change=change,
            skips=0 if lead is None else lead.skips,
            steps=self.steps,
        )

    def _decision(self, facts: Facts, lead: Lead | None, mask: Tensor | None, fewest: int, most: int) -> Decision:
        config, change = self.config.block_cache, facts.change
        anchor = -1 if lead is None else lead.computed_at
        why = reason_to_compute(facts, config)
        if why is None:
            return Decision(True, f"predicted: change within {config.threshold:g}", change, anchor)
        warm = facts.index >= config.warmup_evaluations
        if mask is None or not warm or facts.is_last or not facts.in_window:
            return Decision(False, why, change, anchor)
        if fewest == mask.shape[1]:
            threshold = self.config.token_selector.threshold
            return Decision(False, f"computed: every token changed more than {threshold:g}", change, anchor)
        return Decision(False, why, change, anchor, active_indices(mask, most), mask)

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
