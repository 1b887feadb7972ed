"""What a sampler does with what it is given, asked before it samples, by impulses.

Nearly every sampler is linear in the denoised images D_j that it is given: what it hands to its k-th evaluation is

    x_k = C[k, 0] x_0 + sum over j < k of C[k, 1 + j] D_j + noise_k,

where the numbers C depend on the sigmas only. So the sampler is run on a latent of a few numbers, with a stand-in for
the model that answers its j-th call with a one in place 1 + j and zeros elsewhere: every x is then a row of C. The same
run with zeros tells the noise. This takes no time and tells at which sigmas the sampler evaluates, how often in a step,
whether it adds noise and how much, and how every answer moves the picture, whatever the sampler is called and wrapped
in. A run with random answers tells whether the sampler is linear at all; those that choose their steps by what they see
are not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .path import NoisePath

LINEAR = 1e-4  # relative: a sampler whose x is off by more from the sum of its answers is not linear
EXACT = 1e-5  # relative: a row of C that is met as closely by earlier ones follows from them
AT_SIGMA = 1e-3  # relative distance from a sigma within which an evaluation is at it
MEMORY = 4  # evaluations that a sampler may look back
MOST_CALLS = 1000
Sample = Callable[["Model", Tensor], Tensor]
Model = Callable[[Tensor, float], "tuple[Tensor, Tensor]"]


class NotLinear(ValueError):
    """This sampler cannot be described by numbers; the message says why, to stand behind "the sampler"."""


class Step(NamedTuple):
    """How the next x follows from earlier ones: x_i+1 = sum of states[n] x_i-n + sum of answers[m] D_i-m + noise.

    noise: standard deviation of what is added at random.
    """

    states: tuple[float, ...]
    answers: tuple[float, ...]
    noise: float


@dataclass(frozen=True)
class Response:
    """sigmas: [E], of the evaluations, in their order. steps: [E], what follows each of them; the last leads to the
    result. unguided: whether the sampler also follows the image without guidance, as CFG++ does."""

    sigmas: tuple[float, ...]
    steps: tuple[Step, ...]
    unguided: bool = False

    @functools.cached_property
    def memory(self) -> int:
        """Over how many evaluations a step looks back, itself included."""
        return max(max(len(step.states), len(step.answers)) for step in self.steps)

    @property
    def remembers(self) -> bool:
        """Whether it is a multistep sampler, which looks back at every step; those of several evaluations a step look
        back at every other one at most."""
        return sum(len(step.answers) > 1 for step in self.steps) > len(self.steps) / 2 + 1

    def foretells(self, evaluation: int, sigma: float) -> bool:
        """Whether the sampler said that it comes to this sigma at this evaluation."""
        if evaluation >= len(self.sigmas):
            return False
        known = self.sigmas[evaluation]
        return abs(sigma - known) <= AT_SIGMA * abs(known)

    @property
    def noisy(self) -> bool:
        """Whether any step adds noise."""
        return any(step.noise > 0 for step in self.steps)


def ask(sample: Sample, like: Sequence[int]) -> Response:
    """The response of a sampler. NotLinear where it has none.

    sample(model, noise): runs it from this noise, with `model(x, sigma)` in the model's place, which returns the guided
    and the unguided denoised image; it must use the same random numbers each time. like: shape of its latents [samples,
    channels, ...], of which the channels and the number of axes are kept.
    """
    try:
        return _Asking(sample, like, torch.float64).response()
    except RuntimeError:  # some samplers work in this precision only
        return _Asking(sample, like, torch.float32).response()


class _Asking:
    """Runs a sampler on small latents, always with the same noise."""

    def __init__(self, sample: Sample, like: Sequence[int], dtype: torch.dtype):
        self.sample, self.like, self.dtype = sample, like, dtype
        self.sigmas: list[float] = []

    def response(self) -> Response:
        self.run(torch.zeros(1, 1))
        count = len(self.sigmas)
        if not count:
            raise NotLinear("evaluates nothing")
        inputs = 1 + 2 * count  # the start, the guided images, the unguided ones
        noise = self.run(torch.zeros(inputs, inputs))
        rows = (self.run(torch.eye(inputs)) - noise).mean(axis=1)
        random = torch.randn(inputs, inputs, generator=torch.Generator().manual_seed(0), dtype=self.dtype)
        foretold = rows @ random.double().numpy()
        off = abs(self.run(random) - noise - foretold[:, None]).max(axis=(1, 2))
        if (off > LINEAR * abs(foretold).max()).any():
            raise NotLinear("does not follow the denoised image by fixed factors")
        guided, unguided = rows[:, : 1 + count], rows[:, 1 + count :]
        if abs(guided[0, 0]) < EXACT:
            raise NotLinear("does not begin at the noise that it is given")
        steps = tuple(_step(guided, noise, i) for i in range(count))
        return Response(tuple(self.sigmas), steps, bool(abs(unguided).max() > EXACT * abs(guided).max()))

    def run(self, inputs: Tensor) -> np.ndarray:
        """x at every evaluation, and the result: [E + 1, channels, width]. inputs [1 + 2 E, width]: what it starts
        from, what its calls are answered with, and their unguided images."""
        width = inputs.shape[1]
        shape = (1, *self.like[1:2], *[1] * (len(self.like) - 3), width) if len(self.like) > 2 else (1, width)
        inputs = inputs.to(self.dtype)
        calls = len(inputs) // 2
        asked: list[Tensor] = []
        sigmas: list[float] = []

        def model(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
            if len(asked) >= MOST_CALLS:
                raise NotLinear(f"evaluates more than {MOST_CALLS} times")
            asked.append(x.detach().clone())
            sigmas.append(sigma)
            if len(asked) > calls:
                return torch.zeros_like(x), torch.zeros_like(x)
            rows = inputs[len(asked)], inputs[calls + len(asked)]
            return rows[0].to(x.dtype).expand(x.shape).clone(), rows[1].to(x.dtype).expand(x.shape).clone()

        result = self.sample(model, inputs[0].expand(shape).clone())
        if self.sigmas and not (len(sigmas) == len(self.sigmas) and np.allclose(sigmas, self.sigmas, rtol=1e-6)):
            raise NotLinear("chooses its steps by what it is given")
        self.sigmas = sigmas
        rows = np.stack([part.double().reshape(-1, width).numpy() for part in (*asked, result)])
        if not np.isfinite(rows).all():
            raise NotLinear("makes numbers that are not finite of simple ones")
        return rows


def _step(rows: np.ndarray, base: np.ndarray, i: int) -> Step:
    """x_i+1 by the fewest earlier x and answers that give it. rows: C; base: the run without answers."""
    following = rows[i + 1, : i + 2]
    scale = max(abs(following).max(), abs(rows[i]).max())
    for memory in range(min(MEMORY, i) + 1):
        # The newest answers enter freely, so the states have to explain what came before them.
        before = slice(0, 1 + i - memory)
        states = np.stack([rows[i - n, : i + 2] for n in range(memory + 1)])
        factors = np.linalg.lstsq(states[:, before].T, following[before], rcond=1e-9)[0]
        left = following - factors @ states
        if abs(left[before]).max() <= EXACT * scale:
            answers = tuple(left[1 + i - m] for m in range(min(memory, i) + 1))
            noise = base[i + 1] - sum(factor * base[i - n] for n, factor in enumerate(factors))
            return Step(
                tuple(map(float, factors)),
                tuple(map(float, answers)),
                float(noise.std()) if abs(noise).max() > EXACT * scale else 0.0,
            )
    raise NotLinear(f"looks back further than {MEMORY} evaluations")


def euler(sigmas: Sequence[float]) -> Response:
    """Of Euler's method over these sigmas, for whoever samples with it without asking."""

    def sample(model: Model, noise: Tensor) -> Tensor:
        x = noise
        for sigma, following in pairwise(sigmas):
            x = x + (following - sigma) * (x - model(x, sigma)[0]) / sigma
        return x

    return ask(sample, (1, 1))


def weights(response: Response, path: NoisePath, last: float, velocity: bool) -> list[float]:
    """How much an error of each evaluation counts in the result, 1 on average: [E].

    It counts as far as it moves one of the next latents, measured along the noise path (path.py), where all latents are
    of one size; later steps pass that on. An error of the velocity is t times one of the denoised image. last: the
    sigma that the last step leads to.
    """
    wholes = [path.whole(sigma) for sigma in (*response.sigmas[1:], last)]
    moved = [
        max(abs(effect) / whole for effect, whole in zip(_effects(response, i), wholes[i:], strict=False))
        for i in range(len(response.steps))
    ]
    along = [effect * path.fraction(sigma) for effect, sigma in zip(moved, response.sigmas, strict=True)]
    mean = sum(along) / len(along)
    return [one / mean for one in (along if velocity else moved)] if mean > 0 else [1.0] * len(moved)


def _effects(response: Response, evaluation: int) -> list[float]:
    """By how much a unit of the denoised image moves the latents of the next few evaluations."""
    shifts: dict[int, float] = {}
    for i in range(evaluation, min(evaluation + MEMORY, len(response.steps))):
        step = response.steps[i]
        passed = sum(factor * shifts.get(i - n, 0.0) for n, factor in enumerate(step.states))
        own = step.answers[i - evaluation] if i - evaluation < len(step.answers) else 0.0
        shifts[i + 1] = passed + own
    return list(shifts.values())
