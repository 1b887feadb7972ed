"""One decision per evaluation: predict all blocks, compute them, or compute some of their tokens.

Taken when the evaluation's first block is reached, for all branches and model calls of the evaluation, with one device
synchronisation: the change of the entry state, the number of active tokens and sigma come to the host together.
"""

from __future__ import annotations

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
    """What to do at one evaluation. active [samples, k] and mask [samples, tokens] select tokens, or are None."""

    predict: bool
    reason: str
    change: float | None
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
        self.last_sigma = min((sigma for sigma in sigmas if sigma > 0), default=0.0)
        self.skips, self.accumulated = 0, 0.0
        self.synchronisations = 0
        self.leads: dict[Hashable, Lead] = {}

    @property
    def nbytes(self) -> int:
        return sum(lead.nbytes for lead in self.leads.values())

    def decide(self, evaluation: Evaluation, h: Tensor, may_select: bool) -> Decision:
        """The evaluation's decision for entry states of h's shape, [samples, tokens, width]."""
        layout = tuple(h.shape)
        if layout not in evaluation.decisions:
            lead, selecting = self.leads.get(layout), self.selecting and may_select
            mask = self._active(lead, h) if selecting and lead is not None else None
            change, fewest, most = self._measure(evaluation, lead, h, mask)
            facts = self._facts(evaluation, change)
            decision = self._decision(facts, h, mask, fewest, most)
            self._move_lead(layout, h, decision)
            evaluation.decisions[layout] = decision
        return evaluation.decisions[layout]

    def end(self, evaluation: Evaluation) -> None:
        """Count skips and change from the first decision of an evaluation that is over."""
        for decision in list(evaluation.decisions.values())[:1]:
            self.skips = self.skips + 1 if decision.predict else 0
            self.accumulated = decision.change if decision.predict and decision.change is not None else 0.0

    def _active(self, lead: Lead, h: Tensor) -> Tensor:
        return choose_active(token_saliency(h, lead.anchors.hidden), lead.anchors.age, self.config.token_selector)

    def _measure(
        self, evaluation: Evaluation, lead: Lead | None, h: Tensor, mask: Tensor | None
    ) -> tuple[float | None, int, int]:
        """Accumulated change, fewest and most active tokens of a sample: the one synchronisation."""
        self.synchronisations += 1
        wanted = [torch.as_tensor(evaluation.sigma)]
        wanted += [] if lead is None else [relative_change(h, lead.entry)]
        wanted += [] if mask is None else [mask.sum(dim=1).amin(), mask.sum(dim=1).amax()]
        device = wanted[-1].device
        numbers = torch.stack([number.to(device, torch.float32) for number in wanted]).tolist()
        evaluation.sigma = numbers[0]
        fewest, most = (0, 0) if mask is None else (round(numbers[-2]), round(numbers[-1]))
        return (None if lead is None else numbers[1] + self.accumulated), fewest, most

    def _facts(self, evaluation: Evaluation, change: float | None) -> Facts:
        sigma, (high, low) = evaluation.sigma, self.sigma_window
        return Facts(
            index=evaluation.index,
            is_last=sigma <= self.last_sigma * (1 + 1e-5),  # sigma comes back in float32
            in_window=low <= sigma <= high,
            change=change,
            skips=self.skips,
            steps=self.steps,
        )

    def _decision(self, facts: Facts, h: Tensor, mask: Tensor | None, fewest: int, most: int) -> Decision:
        config = self.config.block_cache
        why = reason_to_compute(facts, config)
        if why is None:
            return Decision(True, f"predicted: change within {config.threshold:g}", facts.change)
        warm = facts.index >= config.warmup_evaluations
        if mask is None or not warm or facts.is_last or not facts.in_window or fewest == h.shape[1]:
            return Decision(False, why, facts.change)
        return Decision(False, why, facts.change, active_indices(mask, most), mask)

    def _move_lead(self, layout: Hashable, h: Tensor, decision: Decision) -> None:
        lead = self.leads.get(layout)
        if lead is None:
            self.leads[layout] = Lead(h.clone(), TokenAnchors.fresh(h) if self.selecting else None)
            return
        lead.entry = h.clone()
        if lead.anchors is not None:
            everything = torch.full(h.shape[:2], not decision.predict, device=h.device)
            lead.anchors.move(h, everything if decision.mask is None else decision.mask)
