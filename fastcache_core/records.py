"""What is recorded of one evaluation, and how it is written down: fractions, rounded numbers, bytes."""

from __future__ import annotations

import base64
import math
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

# Saliencies are reported as bytes: 128 and above are above the threshold, each more is by a factor of e^(1/scale).
SALIENCY_SCALE = 16


@dataclass
class EvaluationRecord:
    """What happened in one evaluation; arrays have one entry per block."""

    sigma: float | None  # None until the evaluation's first block is reached
    computed: np.ndarray  # summed over calls, weighted by rows of the batch
    rows: np.ndarray
    change: list[float | None]
    expected: list[float | None]
    error: list[float | None]
    reason: list[int | None]
    # Tokens that blocks computed, for inputs of the run's first shape, [samples, tokens]: all, or those of these masks,
    # which stay on their device until the run is over.
    tokens_all: bool = False
    tokens_masks: list[Tensor] = field(default_factory=list)
    # What decisions rested on, for the view that was decided about first (docs/report.md).
    view: Hashable = None
    step: float | None = None
    held: float | None = None
    weight: float | None = None  # how much an error counts in the result
    off_by: float = 0.0  # measured errors, each times the size of its site's work; and those sizes
    sizes: float = 0.0
    forced: int | None = None
    size: list[float | None] = field(default_factory=list)
    thresholds: tuple[float, float] | None = None
    saliency: Tensor | None = None
    # As `computed` and `rows`, of the calls of each kind of branch.
    of_branch: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    full: float = 0.0  # floating-point operations without FastCache

    def computed_tokens(self, shape: tuple[int, int]) -> np.ndarray:
        """Boolean [samples, tokens] of the run's first shape: computed by at least one block."""
        computed = np.full(shape, self.tokens_all)
        for mask in self.tokens_masks:
            # Of several views in one batch, each with a mask of its own, a token counts as computed if it was in one.
            computed |= mask.cpu().numpy().reshape(-1, *shape).any(axis=0)
        return computed


def fractions(computed: np.ndarray, rows: np.ndarray) -> list[float]:
    """Computed tokens over all; some tokens are neither none nor all, however few they are.

    A block that was never reached (another patch replaced it) was computed elsewhere.
    """
    exact = part_of(computed, rows)
    return [min(max(round(f, 4), 1e-4), 0.9999) if 1e-9 < f < 1 - 1e-9 else float(round(f)) for f in exact]


def as_called(branch: tuple[np.ndarray, np.ndarray] | None, whole: list[float]) -> list[float]:
    """The fractions of one kind of branch; of all branches, where it was not called."""
    if branch is None:
        return whole
    return [own if rows else every for own, rows, every in zip(fractions(*branch), branch[1], whole, strict=True)]


def packed_bytes(octets: np.ndarray) -> str:
    return base64.b64encode(octets.tobytes()).decode()


def part_of(work: np.ndarray, whole: np.ndarray) -> list[float]:
    """Of nothing, everything."""
    return np.divide(work, whole, out=np.ones_like(work), where=np.broadcast_to(whole > 0, work.shape)).tolist()


def finite(number: float | None) -> float | None:
    """A number of six significant digits, or None for what JSON cannot carry."""
    return float(f"{number:.6g}") if number is not None and math.isfinite(number) else None


def quantised(saliency: Tensor, threshold: float) -> Tensor:
    """Saliencies [samples, tokens] as bytes around the threshold: 128 is just above it."""
    levels = (SALIENCY_SCALE * torch.log(saliency / threshold)).floor().clamp(-128, 127)
    above = saliency > threshold
    return (torch.where(above, levels.clamp(min=0), levels.clamp(max=-1)) + 128).to(torch.uint8)
