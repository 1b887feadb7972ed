"""The exact quantile of the chi-square distribution, for any number of degrees of freedom."""

from __future__ import annotations

import math
from functools import lru_cache

import torch


@lru_cache(maxsize=64)
def chi_square_quantile(probability: float, degrees: int) -> float:
    """x with P(chi2 <= x) = probability, by bisection on the regularised incomplete gamma function in float64."""
    half = torch.tensor(degrees / 2, dtype=torch.float64)
    reach = 12 * math.sqrt(2 * degrees) + 60  # more than 8 standard deviations, and enough for one degree of freedom
    low, high = max(0.0, degrees - reach), degrees + reach
    while low < (middle := (low + high) / 2) < high:
        below = torch.special.gammainc(half, torch.tensor(middle / 2, dtype=torch.float64)) < probability
        low, high = (middle, high) if below else (low, middle)
    return high
