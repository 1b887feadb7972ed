"""What skipping did to the picture, paid back once it is known.

A sampler moves along the derivative d = (x - denoised) / sigma. Where an evaluation is predicted, d is extrapolated
from those computed before it; when the next one is computed, d lies between computed ones, and interpolation is far
closer: for d quadratic in sigma it is exact. What interpolation says the predicted steps should have added,

    E = sum over predicted steps j of (sigma_j+1 - sigma_j) (interpolated d_j - predicted d_j),

is then added to the step that is computed: d + E / (sigma_i+1 - sigma_i), so that the sampler arrives where it would
have arrived. This is the corrector of a predictor-corrector pair, as UniPC's (arXiv 2302.04867) and FoCa's (arXiv
2508.16211), put into the model's output, since samplers are not ours to change. Predictions that were right get E = 0.

It applies to samplers that go from one sigma of the schedule to the next along d, as Euler's, or along the mean of both
ends' d, as Heun's, where each counts half. Which it is, is watched; with others, which evaluate other sigmas or add
noise, nothing is corrected.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .signals import TINY

ANCHORS = 3  # of the interpolation, which is quadratic then
AT_SIGMA = 1e-3  # relative distance from a sigma of the schedule within which an evaluation is at it
ASTRAY = 0.25  # of the way that d tells: a place in the picture that moved otherwise by more did not follow it
LOST = 1.0  # of that way: a place that moved otherwise by more was put elsewhere, as masks do, and is owed nothing
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


class Visit(NamedTuple):
    """An evaluation that a sampler makes.

    step: of the sampler, in sigma. halved: it goes along the mean of two d's, of which this is one; second: the other
    came before.
    """

    sigma: float
    step: float
    halved: bool = False
    second: bool = False

    @property
    def weight(self) -> float:
        """By how much this d moves the latent in the end."""
        return self.step / 2 if self.halved else self.step


def once(sigmas: Sequence[float]) -> list[Visit]:
    """Euler's evaluations, those of multistep samplers too."""
    return [Visit(here, following - here) for here, following in pairwise(sigmas)]


def at_both_ends(sigmas: Sequence[float]) -> list[Visit]:
    """Heun's evaluations; where a step leads to zero, it is Euler's."""
    visits = []
    for here, following in pairwise(sigmas):
        step, halved = following - here, following > 0
        visits += [Visit(here, step, halved), *[Visit(following, step, True, True)] * halved]
    return visits


WALKS = once, at_both_ends  # that are corrected


class Corrector:
    """Of one run. sigmas: the sampler's schedule with the last one, where its last step leads.

    Tensors are latents, [samples, channels, ...].
    """

    def __init__(self, sigmas: Sequence[float]):
        self.off: str | None = None  # why this sampler's steps are not corrected
        self._index = 0
        self._walks = [walk(sigmas) for walk in WALKS]  # that the sampler may be on, as far as is known
        self._corrected: list[Tensor] = []  # whether any sample was, each time that something was owed
        self._anchors: list[tuple[float, Tensor]] = []  # the newest first
        self._skipped: list[Visit] = []  # what was predicted since
        self._moved: Tensor | None = None  # by what was predicted since
        self._told: list[tuple[Tensor, Tensor]] = []  # x and d of the evaluations before that are of one step
        # [samples, 1, ...]: whether the sampler followed d there since the last anchor
        self._followed: Tensor | None = None
        self._guidance: Hashable = None

    @property
    def nbytes(self) -> int:
        kept = (*(d for _, d in self._anchors), self._moved, *(t for told in self._told for t in told))
        # What the sampler was told is the newest anchor where nothing was owed.
        return sum({id(t): t.nbytes for t in kept if t is not None}.values())

    @property
    def corrections(self) -> int:
        """How many evaluations were corrected; this waits for the device."""
        return int(torch.stack(self._corrected).sum()) if self._corrected else 0

    def free(self) -> None:
        self._anchors, self._skipped, self._moved, self._told, self._followed = [], [], None, [], None

    @property
    def ending(self) -> int:
        """How many of the schedule's last sigmas to compute.

        What comes just before the last evaluation could not be corrected well there, as little is known of it then; the
        last sigma alone is two evaluations where each is visited twice.
        """
        return 1 if self.off is not None or any(visit.second for visit in self._walks[0]) else 2

    def correct(self, x: Tensor, sigma: float, denoised: Tensor, predicted: bool, guidance: Hashable = None) -> Tensor:
        """The denoised image that the sampler is to be given at x; predicted: whether blocks were skipped for it.

        guidance: what d is made of; where that is something else, d jumps, and what was known says nothing any more.
        """
        index, self._index = self._index, self._index + 1
        if self.off is None:
            self._walks = [walk for walk in self._walks if is_at(walk, index, sigma)]
            if not self._walks:
                self.switch_off(
                    "the sampler evaluates its schedule's sigmas neither once each nor as both ends of a step"
                )
        if self.off is not None or index + 1 >= len(self._walks[0]):  # what is after the last step is not ours
            return denoised
        if any(before.shape != x.shape for before, _ in self._told):
            self.free()
        self._watch(x, index)
        if index <= TRIED and not self._followed_by_any():
            self.switch_off("the sampler does not go where d leads")
            return denoised
        if guidance != self._guidance:
            self._guidance, self._anchors, self._skipped, self._moved = guidance, [], [], None
        visit, d = self._walks[0][index], (x - denoised) / sigma
        told = d
        if predicted:
            self._walks = self._walks[:1]  # how far it leads has to be settled
            self._skipped.append(visit)
            self._moved = visit.weight * d if self._moved is None else self._moved.add_(d, alpha=visit.weight)
        else:
            others = [anchor for anchor in self._anchors if anchor[0] != visit.sigma]
            self._anchors = [(visit.sigma, d), *others][:ANCHORS]
            if self._skipped and len(self._anchors) > 1:
                told = d + self._owed() / visit.weight
                self._corrected.append(self._followed.any())
            self._skipped, self._moved = [], None
        several = any(walk[index].second for walk in self._walks)
        self._told = [*self._told, (x, told)][-2 if several else -1 :]
        return denoised if told is d else torch.where(self._followed, x - sigma * told, denoised)

    def switch_off(self, why: str) -> None:
        """Correct nothing from now on."""
        self.off = self.off or why
        self.free()

    def _watch(self, x: Tensor, index: int) -> None:
        """See whether x is where what was told led."""
        before = self._walks[0][index - 1]
        if len(self._told) < 1 + before.second:
            return
        began, d = self._told[0] if before.second else self._told[-1]
        way = before.step * ((d + self._told[1][1]) / 2 if before.second else d)
        astray = torch.linalg.vector_norm((x - began - way).float(), dim=1, keepdim=True)
        far = torch.linalg.vector_norm(way.float(), dim=1, keepdim=True) + TINY
        close = (astray <= ASTRAY * far).float().mean(dim=tuple(range(1, x.ndim)), keepdim=True)
        following = (close >= FOLLOWING) & (astray <= LOST * far)
        first = not self._skipped or self._followed is None
        self._followed = following if first else self._followed & following

    def _followed_by_any(self) -> bool:
        """Whether the sampler went along d in any sample, as far as it is known; this waits for the device."""
        return self._followed is None or bool(self._followed.any())

    def _owed(self) -> Tensor:
        """E; nothing where steps went elsewhere."""
        nodes = [at for at, _ in self._anchors]
        owed = -self._moved
        for visit in self._skipped:
            for weight, (_, d) in zip(lagrange(visit.sigma, nodes), self._anchors, strict=True):
                owed.add_(d, alpha=weight * visit.weight)
        return torch.where(self._followed, owed, 0.0)


def is_at(walk: Sequence[Visit], index: int, sigma: float) -> bool:
    """Whether this evaluation is the one that its place in the walk says, of a step that falls."""
    if index >= len(walk):
        return False
    here, step, *_ = walk[index]
    return abs(sigma - here) <= AT_SIGMA * here and step < 0 < here
