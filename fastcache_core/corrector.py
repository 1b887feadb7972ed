"""What skipping did to the picture, paid back once it is known.

A sampler moves along the derivative d = (x - denoised) / sigma. Where an evaluation is predicted, d is extrapolated
from those computed before it; when the next one is computed, d lies between computed ones, and interpolation is far
closer: for d quadratic in sigma it is exact. What interpolation says the predicted steps should have added,

    E = sum over predicted steps j of (sigma_j+1 - sigma_j) (interpolated d_j - predicted d_j),

is then added to the step that is computed: d + E / (sigma_i+1 - sigma_i), so that the sampler arrives where it would
have arrived. This is the corrector of a predictor-corrector pair, as UniPC's (arXiv 2302.04867) and FoCa's (arXiv
2508.16211), put into the model's output, since samplers are not ours to change. Predictions that were right get E = 0.

It applies to samplers that go from one sigma of the schedule to the next along d, which is watched; with others, which
evaluate a sigma twice or add noise, nothing is corrected.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .signals import TINY

ANCHORS = 3  # of the interpolation, which is quadratic then
AT_SIGMA = 1e-3  # relative distance from a sigma of the schedule within which an evaluation is at it
ASTRAY = 0.25  # of the way that d tells: a place in the picture that moved otherwise by more did not follow it
FOLLOWING = 0.25  # of all places, at least, follow d; inpainting holds some
TRIED = 2  # first steps that some sample has to follow; the first noise that LCM adds may be the one that x began as


def lagrange(at: float, nodes: Sequence[float]) -> list[float]:
    """Weights [nodes] of the polynomial through values at these sigmas, evaluated at another."""
    weights = []
    for k, node in enumerate(nodes):
        weight = 1.0
        for other in (*nodes[:k], *nodes[k + 1 :]):
            weight *= (at - other) / (node - other)
        weights.append(weight)
    return weights


class Corrector:
    """Of one run. sigmas: the sampler's schedule with the last one, where its last step leads.

    Tensors are latents, [samples, channels, ...].
    """

    def __init__(self, sigmas: Sequence[float]):
        self.sigmas = list(sigmas)
        self.off: str | None = None  # why this sampler's steps are not corrected
        self._index = 0
        self._corrected: list[Tensor] = []  # whether any sample was, each time that something was owed
        self._anchors: list[tuple[float, Tensor]] = []  # the newest first
        self._skipped: list[tuple[float, float]] = []  # sigma and step of what was predicted since
        self._moved: Tensor | None = None  # by what was predicted since
        self._told: tuple[Tensor, Tensor] | None = None  # x and d of the evaluation before
        self._followed: Tensor | None = None  # [samples]: whether the sampler followed d since the last anchor

    @property
    def nbytes(self) -> int:
        kept = (*(d for _, d in self._anchors), self._moved, *(self._told or ()))
        # What the sampler was told is the newest anchor where nothing was owed.
        return sum({id(t): t.nbytes for t in kept if t is not None}.values())

    @property
    def corrections(self) -> int:
        """How many evaluations were corrected; this waits for the device."""
        return int(torch.stack(self._corrected).sum()) if self._corrected else 0

    def free(self) -> None:
        self._anchors, self._skipped, self._moved, self._told, self._followed = [], [], None, None, None

    def correct(self, x: Tensor, sigma: float, denoised: Tensor, predicted: bool) -> Tensor:
        """The denoised image that the sampler is to be given at x; predicted: whether blocks were skipped for it."""
        index, self._index = self._index, self._index + 1
        if self.off is None and not self._is_at(index, sigma):
            self._switch_off("the sampler does not evaluate every sigma of its schedule once, falling")
        if self.off is not None or index + 2 >= len(self.sigmas):  # what is after the last step is not ours
            return denoised
        if self._told is not None and self._told[0].shape != x.shape:
            self.free()
        self._watch(x, sigma, index)
        if index <= TRIED and not self._followed_by_any():
            self._switch_off("the sampler does not go where d leads")
            return denoised
        d, step = (x - denoised) / sigma, self.sigmas[index + 1] - sigma
        told = d
        if predicted:
            self._skipped.append((sigma, step))
            self._moved = step * d if self._moved is None else self._moved.add_(d, alpha=step)
        else:
            self._anchors = [(sigma, d), *self._anchors][:ANCHORS]
            if self._skipped and len(self._anchors) > 1:
                told = d + self._owed() / step
                self._corrected.append(self._followed.any())
            self._skipped, self._moved = [], None
        self._told = x, told
        return denoised if told is d else torch.where(self._followers(x), x - sigma * told, denoised)

    def _switch_off(self, why: str) -> None:
        self.off = why
        self.free()

    def _is_at(self, index: int, sigma: float) -> bool:
        """Whether this evaluation is the one that its place in the schedule says."""
        if index + 1 >= len(self.sigmas):
            return False
        here, following = self.sigmas[index : index + 2]
        return abs(sigma - here) <= AT_SIGMA * here and following < here > 0

    def _watch(self, x: Tensor, sigma: float, index: int) -> None:
        """See whether x is where the last d led."""
        if self._told is None:
            return
        before, d = self._told
        way = (sigma - self.sigmas[index - 1]) * d
        astray = torch.linalg.vector_norm((x - before - way).float(), dim=1)
        close = astray <= ASTRAY * (torch.linalg.vector_norm(way.float(), dim=1) + TINY)
        following = close.flatten(1).float().mean(dim=1) >= FOLLOWING
        first = not self._skipped or self._followed is None
        self._followed = following if first else self._followed & following

    def _followed_by_any(self) -> bool:
        """Whether the sampler went along d in any sample, as far as it is known; this waits for the device."""
        return self._followed is None or bool(self._followed.any())

    def _followers(self, x: Tensor) -> Tensor:
        """The samples that are corrected, to go with x."""
        return self._followed.reshape(-1, *[1] * (x.ndim - 1))

    def _owed(self) -> Tensor:
        """E; nothing for samples whose steps went elsewhere."""
        nodes = [at for at, _ in self._anchors]
        owed = -self._moved
        for weights, step in ((lagrange(at, nodes), step) for at, step in self._skipped):
            for weight, (_, d) in zip(weights, self._anchors, strict=True):
                owed.add_(d, alpha=weight * step)
        return torch.where(self._followers(owed), owed, 0.0)
