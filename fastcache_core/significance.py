"""How far off a prediction will be, learned while sampling from how far off predictions would have been.

Whenever blocks are computed, what the predictor would have said is known to have been off by some error, for some
change of the entry state since the anchor. FastCache (arXiv 2505.20353) asks whether a change is statistically
significant but tests it against a bound that every real change meets; here the question is put to the measured errors.
They grow a little faster than the change (the exponent was chosen on the demo model), so log(error / change^p) is kept:
its mean and variance, with exponential forgetting, because errors are large while the picture takes shape and small
afterwards. The bound is the upper end of a prediction interval: with few measurements it is wide, by Student's t.
"""

from __future__ import annotations

import math
from statistics import NormalDist

EXPONENT = 1.5
FORGETTING = 0.5  # weight of the newest measurement
TINY = 1e-12
# Before a spread was measured, errors are taken to vary by this much (standard deviation of their logarithm), which
# counts as much as so many measurements.
PRIOR_SPREAD, PRIOR_WEIGHT = 0.6, 2.0


def student_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t, by the expansion around the normal one (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / degrees**power for power, term in enumerate(terms))


class ErrorStatistics:
    """Running mean and variance of log(realised error / change^p)."""

    def __init__(self):
        self.count, self.mean, self.variance, self.weights = 0, 0.0, 0.0, 0.0

    def update(self, error: float, change: float) -> None:
        """One measurement: relative error of the prediction that was not needed, and the change it had to bridge."""
        if not (math.isfinite(error) and math.isfinite(change)) or change <= 0:
            return
        value = math.log(max(error, TINY)) - EXPONENT * math.log(change)
        weight = FORGETTING if self.count else 1.0
        off = value - self.mean
        self.mean += weight * off
        self.variance = (1 - weight) * (self.variance + weight * off**2)
        self.weights = (1 - weight) ** 2 * self.weights + weight**2  # sum of squared weights
        self.count += 1

    def bound(self, change: float, alpha: float) -> float | None:
        """The error that a prediction over this change exceeds with probability alpha; None before any measurement."""
        if not self.count:
            return None
        n = 1 / self.weights  # as many equally weighted measurements would know as much
        degrees = PRIOR_WEIGHT + n - 1
        variance = (PRIOR_WEIGHT * PRIOR_SPREAD**2 + n * self.variance) / degrees
        spread = student_quantile(1 - alpha, degrees) * math.sqrt(variance * (1 + self.weights))
        return math.exp(self.mean + spread) * max(change, TINY) ** EXPONENT
