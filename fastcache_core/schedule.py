"""Which blocks to compute at which evaluation, as calibration found it, and how that is carried over to other runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SAME = 2e-3  # sigmas that differ by less than this part are one: models and schedulers round them
MOST_IN_A_STEP = 3  # evaluations that a sampler makes
LEAST_SHARED = 0.5  # of a run's steps that must lie where the schedule was made


@dataclass(frozen=True)
class Schedule:
    """Which blocks to compute (1) and to predict (0).

    sigmas: of the evaluations, [E], which rise where a sampler goes back in a step. computed: [E][blocks]. factors: of
    every evaluation's forecast, [E][2] (predictors.py), or None where they are found while sampling. whole: whether it
    is for predicting the model's output, and not what blocks add; all blocks are then treated alike.
    """

    sigmas: list[float]
    computed: list[list[int]]
    factors: list[list[float]] | None = None
    whole: bool = False

    @property
    def work(self) -> float:
        """The part of all block calls that is computed."""
        return float(np.mean(self.computed))

    @property
    def tells_blocks_apart(self) -> bool:
        """Whether some blocks are predicted where others are computed."""
        return any(len(set(row)) > 1 for row in self.computed)

    def is_at(self, evaluation: int, sigma: float) -> bool:
        """Whether this is an evaluation that the schedule was made for."""
        return evaluation < len(self.sigmas) and _close(sigma, self.sigmas[evaluation])

    def why_not(self, sigmas: Sequence[float]) -> str | None:
        """Why it cannot be carried over to steps at these sigmas, in a sentence, or None."""
        if any(then > now * (1 + SAME) for now, then in pairwise(sigmas)):
            return "The profile's schedule is for sigmas that fall, but this run's rise, so it is not used."
        high, low = max(self.sigmas), min(self.sigmas)
        inside = sum(low * (1 - SAME) <= sigma <= high * (1 + SAME) for sigma in sigmas)
        if sigmas and inside >= LEAST_SHARED * len(sigmas):
            return None
        found = f"{max(sigmas):.4g} to {min(sigmas):.4g}" if sigmas else "nothing"
        return (
            f"The profile's schedule is for sigmas from {high:.4g} to {low:.4g}, but this run's go from {found}, so it "
            "is not used; calibrate with this sampler and model sampling."
        )

    def is_for(self, sigmas: Sequence[float]) -> bool:
        """Whether it was made for a run of just these steps."""
        reached = all(any(_close(sigma, own) for own in self.sigmas) for sigma in sigmas)
        return reached and len(sigmas) <= len(self.sigmas) <= MOST_IN_A_STEP * len(sigmas)

    def carried(self, sigmas: Sequence[float]) -> Schedule:
        """The same for steps at these (falling) sigmas, one evaluation for each.

        Between any two sigmas as large a part of the steps is computed as the schedule computes of its own evaluations:
        these parts are added up, and a step is computed whenever the sum reaches one. Steps outside of the schedule's
        sigmas are computed. ValueError where `why_not` has a reason.
        """
        problem = self.why_not(sigmas)
        if problem is not None:
            raise ValueError(problem)
        order = self._falling
        rows = np.array(self.computed, float)[order]
        own, first = np.unique(-np.append(np.array(self.sigmas)[order], 0.0), return_index=True)
        starts = np.interp(-np.array(sigmas), own, first)  # all evaluations of one sigma belong to its step
        ends = np.append(starts[1:], len(rows))
        work = np.vstack([np.zeros(rows.shape[1]), rows.cumsum(axis=0)])  # before each evaluation, and at the end
        due, computed = np.zeros(rows.shape[1]), []
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            part = _part(work, start, end)
            outside = not min(self.sigmas) * (1 - SAME) <= sigmas[i] <= max(self.sigmas) * (1 + SAME)
            if outside or i in (0, len(sigmas) - 1):
                part = np.maximum(part, float(outside) if outside else rows[0 if i == 0 else -1])
            due += part
            row = due >= 1 - 1e-6
            due -= row
            computed.append(row.astype(int).tolist())
        return Schedule(list(sigmas), computed, self._factors_at(sigmas))

    @property
    def _falling(self) -> list[int]:
        """Its evaluations in the order of their sigmas."""
        return sorted(range(len(self.sigmas)), key=lambda i: -self.sigmas[i])

    def _factors_at(self, sigmas: Sequence[float]) -> list[list[float]] | None:
        """The first ones of the evaluations where something was predicted, on lines between them.

        The second ones are right for the anchors they were fitted with, which lie elsewhere now: without them images
        were closer (docs/design-notes.md).
        """
        skipped = [i for i in self._falling if not all(self.computed[i])]
        if self.factors is None or not skipped:
            return self.factors and [[0.0, 0.0]] * len(sigmas)
        known = -np.array(self.sigmas)[skipped]
        return [[float(np.interp(-s, known, np.array(self.factors)[skipped, 0])), 0.0] for s in sigmas]


def _part(work: np.ndarray, start: float, end: float) -> np.ndarray:
    """Of the evaluations from start to end, places between whole numbers included, the part that is computed [B]."""
    if end - start < 1e-9:
        return np.zeros(work.shape[1])
    places = np.arange(len(work))
    spent = [np.array([np.interp(place, places, column) for column in work.T]) for place in (start, end)]
    return (spent[1] - spent[0]) / (end - start)


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * max(abs(a), abs(b), 1e-6)
