"""Where a latent lies between picture and noise, for every way to tell it.

Models tell the same thing in different ways: x = signal * picture + noise * eps, with (signal, noise) = (1 - sigma,
sigma) in flow models, and (1, sigma) in those that speak of a picture with noise added, whose sigmas go to 14, 80 or
500. Divided by signal + noise all of them are one, x = (1 - t) picture + t eps, with t the fraction of noise from 1 to
0. What changes slowly there is the velocity, v = eps - picture = (x - picture) / t, at the noisiest end too, where d =
(x - picture) / sigma is nothing but noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

SOFT = 0.01  # keeps both ends of the path, t = 1 and t = 0, at a finite place
Scales = Callable[[float], "tuple[float, float]"]


@dataclass(frozen=True)
class NoisePath:
    """scales: (signal, noise) of a sigma."""

    scales: Scales

    @property
    def is_flow(self) -> bool:
        """Whether signal and noise add up to one."""
        return abs(self.whole(0.25) - 1) < 1e-6 and abs(self.whole(0.75) - 1) < 1e-6

    def fraction(self, sigma: float) -> float:
        """t, the part of the noise, 0 to 1."""
        signal, noise = self.scales(sigma)
        return noise / (signal + noise)

    def whole(self, sigma: float) -> float:
        """signal + noise, by which latents are divided."""
        return sum(self.scales(sigma))

    def place(self, sigma: float) -> float:
        """Along what predictions are carried forward and interpolated: the logarithm of noise over signal, softened.

        Over it, what a model adds bends least; measured for five samplers, three schedules and shifts 1 and 3
        (docs/design-notes.md).
        """
        t = min(max(self.fraction(sigma), 0.0), 1.0)
        return math.log((t + SOFT) / (1 - t + SOFT))


class AlongSigma(NoisePath):
    """Where nothing is known but sigma: a flow, and predictions are carried along sigma itself."""

    def __init__(self):
        super().__init__(lambda sigma: (1 - sigma, sigma))

    def place(self, sigma: float) -> float:
        return sigma


def remembered(scales: Scales) -> NoisePath:
    """A path whose scales are asked once for every sigma."""
    return NoisePath(functools.cache(scales))
