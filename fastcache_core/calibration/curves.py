"""What the rules of some methods need to know along sigma, fitted in closed form to recordings of uncached runs.

Samples are states h and residuals r of a site, [evaluations, tokens, width], tokens of all runs and branches together.
Everything is relative, so that one threshold means the same in every model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..curves import MAGNITUDE, OF_STATE, OF_TIME, POLYNOMIAL, Curves
from ..signals import TINY

DEGREE = 4  # of TeaCache's polynomial
MOST_GAP = 4  # evaluations that sensitivities are fitted over


def magnitude(residuals: Tensor) -> list[float]:
    """MagCache (arXiv 2506.09045): how the residuals' size goes from evaluation to evaluation, starting at 1.

    The ratio of two neighbours is the method's magnitude ratio, the mean over tokens of |r_t| / |r_t-1|. Kept as their
    product, so that a ratio over any distance can be read off, whatever the number of steps.
    """
    sizes = residuals.double().norm(dim=-1)
    ratios = (sizes[1:] / (sizes[:-1] + TINY)).mean(dim=1)
    return [1.0, *ratios.cumprod(dim=0).tolist()]


def relative_l1(now: Tensor, before: Tensor) -> float:
    """mean|now - before| / mean|before|."""
    return float((now - before).abs().double().mean() / (before.abs().double().mean() + TINY))


def change_polynomial(states: Tensor, residuals: Tensor, degree: int = DEGREE) -> list[float]:
    """TeaCache (arXiv 2411.19108): the change of the output as a polynomial in the change of the input.

    Fitted by least squares to all pairs of neighbours; of a lower degree where there are too few of them.
    """
    pairs = range(1, len(states))
    inputs = [relative_l1(states[e], states[e - 1]) for e in pairs]
    outputs = [relative_l1(residuals[e], residuals[e - 1]) for e in pairs]
    return np.polyfit(inputs, outputs, max(0, min(degree, len(pairs) - 1))).tolist()


def sensitivities(
    states: Tensor, residuals: Tensor, sigmas: Sequence[float], most_gap: int = MOST_GAP
) -> tuple[list[float], list[float]]:
    """SenCache (arXiv 2602.24208): how much the residual changes with the state, and with sigma, at every evaluation.

    |r' - r| / |r| ~ J_x |h' - h| / |h| + J_t |sigma' - sigma| over the next few evaluations, by least squares with
    neither J below 0. The last evaluations, after which there are not two more to tell these apart, are like the one
    before.
    """
    fits = []
    for e in range(max(1, len(states) - 2)):
        later = range(e + 1, min(e + most_gap, len(states) - 1) + 1)
        moved = [(_relative(states[e], states[i]), abs(sigmas[i] - sigmas[e])) for i in later]
        fits.append(_nonnegative(np.array(moved), np.array([_relative(residuals[e], residuals[i]) for i in later])))
    fits += fits[-1:] * (len(states) - len(fits))
    return [x for x, _ in fits], [t for _, t in fits]


def _relative(before: Tensor, now: Tensor) -> float:
    return float((now - before).double().norm() / (before.double().norm() + TINY))


def _nonnegative(factors: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Least squares of two coefficients, neither negative: the free solution, or the better one with one factor."""
    free = np.linalg.lstsq(factors, wanted, rcond=None)[0]
    if (free >= 0).all():
        return float(free[0]), float(free[1])
    squares = (factors**2).sum(axis=0)
    alone = np.maximum(factors.T @ wanted / np.where(squares > 0, squares, 1.0), 0)
    gains = alone**2 * squares
    return (float(alone[0]), 0.0) if gains[0] >= gains[1] else (0.0, float(alone[1]))


def fit_curves(states: Tensor, residuals: Tensor, sigmas: Sequence[float]) -> Curves:
    """All of the above: states that enter the first block, residuals of the whole stack."""
    of_state, of_time = sensitivities(states, residuals, sigmas)
    values = {MAGNITUDE: magnitude(residuals), OF_STATE: of_state, OF_TIME: of_time}
    return Curves(list(sigmas), values, {POLYNOMIAL: change_polynomial(states, residuals)})
