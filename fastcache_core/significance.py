"""How far off a prediction will be, learned while sampling from how far off predictions would have been.

Whenever blocks are computed, what the predictor would have said is known to have been off by some error, for some
change of the entry state since the anchor. FastCache (arXiv 2505.20353) asks whether a change is statistically
significant but tests it against a bound that every real change meets; here the question is put to the measured errors.
They grow a little faster than the change (the exponent was chosen on the demo model), so log(error / change^p) is kept:
its mean and variance, with exponential forgetting, because errors are large while the picture takes shape and small
afterwards.
"""

from __future__ import annotations

import math
from statistics import NormalDist

EXPONENT = 1.5
FORGETTING = 0.5  # weight of the newest measurement
TINY = 1e-12


class ErrorStatistics:
    """Running mean and variance of log(realised error / change^p)."""

    def __init__(self):
        self.count, self.mean, self.variance = 0, 0.0, 0.0

    def update(self, error: float, change: float) -> None:
        """One measurement: relative error of the prediction that was not needed, and the change it had to bridge."""
        if not (math.isfinite(error) and math.isfinite(change)) or change <= 0:
            return
        value = math.log(max(error, TINY)) - EXPONENT * math.log(change)
        weight = FORGETTING if self.count else 1.0
        off = value - self.mean
        self.mean += weight * off
        self.variance = (1 - weight) * (self.variance + weight * off**2)
        self.count += 1

    def bound(self, change: float, alpha: float) -> float | None:
        """The error that a prediction over this change exceeds with probability alpha; None before any measurement."""
        if not self.count:
            return None
        quantile = NormalDist().inv_cdf(1 - alpha)
        return math.exp(self.mean + quantile * math.sqrt(self.variance)) * max(change, TINY) ** EXPONENT
