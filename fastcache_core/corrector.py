"""What skipping did to the picture, paid back once it is known, to any sampler that is linear.

Where an evaluation is predicted, the sampler is told T_j. When the next one is computed, interpolation between computed
ones tells far better what it should have been told, D~_j; e_j = D~_j - T_j is what was missing. The sampler's own
response (response.py) says what that did to its latents,

    shift_i+1 = sum of states[n] shift_i-n + sum of answers[m] e_i-m,

and the evaluation that is computed is told so much more that the next latent is where it would have been:

    T_i = D_i + shift_i+1 / answers[0].

At latents that are off, the model says something else than it would have said: D~_i = D_i + shift_i / (signal + noise),
if its velocity is the same there (path.py). e_i = D~_i - T_i stays in the memory of a multistep sampler, enters the
next sum and dies away. With Euler's method it is the corrector of a predictor-corrector pair, as UniPC's (arXiv
2302.04867) and FoCa's (arXiv 2508.16211), put into the model's output, since samplers are not ours to change.
Predictions that were right get nothing.

What is interpolated is what is carried forward: the velocity along the noise path (path.py), or, where the sampler adds
noise of which the velocity is a part, the denoised image itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .path import NoisePath
from .response import Response, Step
from .signals import TINY

ANCHORS = 3  # of the interpolation, which is quadratic then
SAME_PLACE = 1e-4  # computed evaluations closer than this are one
ASTRAY = 0.25  # of the way that was foretold: a place in the picture that moved otherwise by more did not follow it
LOST = 1.0  # of that way: a place that moved otherwise by more was put elsewhere, as masks do, and gets nothing
NOISE = 4.0  # standard deviations of the sampler's noise that a place may be away from where it was foretold
FOLLOWING = 0.25  # of all places, at least, go where they were foretold; inpainting holds some
LEAST_WEIGHT = 1e-6  # of an answer in the next latent, below which nothing can be paid by it


def lagrange(at: float, nodes: Sequence[float]) -> list[float]:
    """Weights [nodes] of the polynomial through values at these places, evaluated at another."""
    weights = []
    for k, node in enumerate(nodes):
        weight = 1.0
        for other in (*nodes[:k], *nodes[k + 1 :]):
            weight *= (at - other) / (node - other)
        weights.append(weight)
    return weights


class Anchor(NamedTuple):
    """What was computed at a place: the velocity, or the denoised image."""

    place: float
    value: Tensor


class Skipped(NamedTuple):
    """An evaluation that was predicted. factor: of the denoised image in what is interpolated."""

    index: int
    place: float
    value: Tensor
    factor: float


def precise(x: Tensor) -> Tensor:
    """In float32, or in float64 where a sampler works in that."""
    return x if x.dtype is torch.float64 else x.float()


class Corrector:
    """Of one run. response: how the sampler answers. velocity: whether the velocity is what is interpolated, or else
    the denoised image. Tensors are latents, [samples, channels, ...], kept in float32 unless they are more precise."""

    def __init__(self, response: Response, path: NoisePath, velocity: bool = True):
        self.off: str | None = None  # why this sampler is not corrected
        self.response, self.path, self.velocity = response, path, velocity
        self._index = 0
        self._paid: list[Tensor] = []  # whether any sample got anything, each time that something was to be paid
        self._anchors: list[Anchor] = []  # the newest first
        self._skipped: list[Skipped] = []  # since then
        # Of the evaluations so far: what was missing, and of the latents at them: by how much they are off. None: zero.
        self._missing: dict[int, Tensor | None] = {}
        self._shifts: dict[int, Tensor | None] = {}
        self._states: dict[int, Tensor] = {}  # latents, and what the sampler was told
        self._told: dict[int, Tensor] = {}
        self._followed: Tensor | None = None  # [samples, 1, ...]: whether a place went where it was foretold lately
        self._guidance: Hashable = None

    @property
    def nbytes(self) -> int:
        parts = (self._missing, self._shifts, self._states, self._told)
        kept = [*(t for part in parts for t in part.values()), *(a.value for a in (*self._anchors, *self._skipped))]
        return sum({t.data_ptr(): t.nbytes for t in kept if t is not None}.values())

    @property
    def corrections(self) -> int:
        """How many evaluations were corrected; this waits for the device."""
        return int(torch.stack(self._paid).sum()) if self._paid else 0

    def switch_off(self, why: str) -> None:
        """Correct nothing from now on."""
        self.off = self.off or why
        self.let_go()

    def let_go(self) -> None:
        """Forget what is kept, as when nothing was predicted yet."""
        for kept in (self._missing, self._shifts, self._states, self._told, self._anchors, self._skipped):
            kept.clear()
        self._followed = None

    def correct(self, x: Tensor, sigma: float, denoised: Tensor, predicted: bool, guidance: Hashable = None) -> Tensor:
        """What the sampler is to be told at x; predicted: whether the model was skipped for it.

        guidance: what the denoised image is made of; where that is something else, it jumps, and what was known says
        nothing any more.
        """
        index, self._index = self._index, self._index + 1
        if self.off is None and not self.response.foretells(index, sigma):
            self.switch_off("the sampler evaluates elsewhere than when it was asked")
        if self.off is not None or not 0 < self.path.fraction(sigma) < float("inf"):
            return denoised
        if any(state.shape != x.shape for state in self._states.values()):
            self.let_go()
        self._states[index] = state = precise(x)
        self._watch(state, index, x.dtype)
        if guidance != self._guidance:
            self._guidance = guidance
            self._anchors, self._skipped = [], []
            self._missing, self._shifts = {}, {}
        value, factor = self._value(state, sigma, precise(denoised))
        place = self.path.place(sigma)
        if predicted:
            self._skipped.append(Skipped(index, place, value, factor))
            self._settle(index, self._drift(index))
            told = denoised
        else:
            others = [anchor for anchor in self._anchors if abs(anchor.place - place) > SAME_PLACE]
            self._anchors = [Anchor(place, value), *others][:ANCHORS]
            self._look_back()
            told = self._pay(index, denoised)
        self._told[index] = precise(told)
        self._tidy(index)
        return told

    def _value(self, x: Tensor, sigma: float, denoised: Tensor) -> tuple[Tensor, float]:
        """What is interpolated, and by what a change of it changes the denoised image."""
        if not self.velocity:
            return denoised, 1.0
        t = self.path.fraction(sigma)
        return (x / self.path.whole(sigma) - denoised) / t, -t

    def _follows(self, step: Step, index: int, kept: dict[int, Tensor | None], given: dict[int, Tensor | None]):
        """What a step makes of states and answers of the evaluations up to this one; None where all are zero."""
        terms = [(factor, kept.get(index - n)) for n, factor in enumerate(step.states)]
        terms += [(factor, given.get(index - m)) for m, factor in enumerate(step.answers)]
        terms = [(factor, term) for factor, term in terms if term is not None and factor]
        if not terms:
            return None
        total = terms[0][1] * terms[0][0]
        for factor, term in terms[1:]:
            total.add_(term, alpha=factor)
        return total

    def _settle(self, index: int, missing: Tensor | None) -> None:
        """So much was missing at an evaluation: by how much is the latent off that follows it?"""
        self._missing[index] = missing
        self._shifts[index + 1] = self._follows(self.response.steps[index], index, self._shifts, self._missing)

    def _drift(self, index: int) -> Tensor | None:
        """By how much the denoised image is off because the latent is; none where nothing is, or where it is the image
        itself that is carried. At the right latent, the model would have said the same velocity."""
        shift = self._shifts.get(index)
        return None if shift is None or not self.velocity else shift / self.path.whole(self.response.sigmas[index])

    def _look_back(self) -> None:
        """What the predicted evaluations since the last computed one should have been told."""
        skipped, self._skipped = self._skipped, []
        nodes = [anchor.place for anchor in self._anchors]
        for index, place, value, factor in skipped:
            missing = self._drift(index)
            if len(nodes) > 1:
                wrong = -factor * value
                for weight, anchor in zip(lagrange(place, nodes), self._anchors, strict=True):
                    wrong.add_(anchor.value, alpha=weight * factor)
                missing = wrong if missing is None else missing + wrong
                if self._followed is not None:
                    missing = torch.where(self._followed, missing, 0.0)
            self._settle(index, missing)

    def _pay(self, index: int, denoised: Tensor) -> Tensor:
        """Tell what puts the next latent where it would have been."""
        step, missing = self.response.steps[index], self._drift(index)
        self._settle(index, missing)
        off = self._shifts[index + 1]
        if off is None or abs(step.answers[0]) < LEAST_WEIGHT:
            return denoised
        more = off / step.answers[0]
        if self._followed is not None:
            more = torch.where(self._followed, more, 0.0)
        self._paid.append((more != 0).any())
        self._missing[index] = -more if missing is None else missing - more
        self._shifts[index + 1] = None
        return (precise(denoised) + more).to(denoised.dtype)

    def _watch(self, x: Tensor, index: int, dtype: torch.dtype) -> None:
        """See whether the sampler went where what it was told leads, place by place."""
        if index == 0:
            return
        step = self.response.steps[index - 1]
        known = all(index - 1 - n in self._states for n in range(len(step.states)))
        foretold = None
        if known and all(index - 1 - m in self._told for m in range(len(step.answers))):
            foretold = self._follows(step, index - 1, self._states, self._told)
        if foretold is None:
            return
        way = torch.linalg.vector_norm(foretold - self._states[index - 1], dim=1, keepdim=True)
        astray = torch.linalg.vector_norm(x - foretold, dim=1, keepdim=True)
        rounding = 4 * torch.finfo(dtype).eps * torch.linalg.vector_norm(x, dim=1, keepdim=True)
        allowed = rounding + (NOISE * step.noise * x.shape[1] ** 0.5 + TINY)
        close = (astray <= ASTRAY * way + allowed).float().mean(dim=tuple(range(1, x.ndim)), keepdim=True)
        following = (close >= FOLLOWING) & (astray <= LOST * way + allowed)
        first = not self._skipped or self._followed is None
        self._followed = following if first else self._followed & following

    def _tidy(self, index: int) -> None:
        """Let go of what no later step looks back to."""
        back = self.response.memory
        oldest = min([index + 1, *(skipped.index for skipped in self._skipped)]) - back + 1
        for kept in (self._missing, self._shifts):
            for old in [key for key in kept if key < oldest]:
                del kept[old]
        for kept in (self._states, self._told):
            for old in [key for key in kept if key < index - back + 1]:
                del kept[old]
