"""Means over prompts, their confidence intervals by bootstrap, and differences between rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

CONFIDENCE, RESAMPLES = 0.95, 9999


@dataclass(frozen=True)
class Interval:
    """A mean, and where it lies with 95 % confidence."""

    mean: float
    low: float
    high: float


def interval(values: np.ndarray) -> Interval:
    """Of the mean over prompts. values [prompts]."""
    return _bootstrapped((values,), lambda a, axis: np.mean(a, axis=axis))


def difference(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """Of the mean of ours - theirs, each prompt being compared with itself. Both [prompts]."""
    return _bootstrapped((ours, theirs), lambda a, b, axis: np.mean(a - b, axis=axis))


def _bootstrapped(samples: tuple[np.ndarray, ...], statistic) -> Interval:
    """With the percentiles of resampled prompts; one prompt alone has no interval but itself."""
    value = float(statistic(*samples, axis=-1))
    if len(samples[0]) < 2:
        return Interval(value, value, value)
    found = bootstrap(
        samples, statistic, paired=True, vectorized=True, method="percentile",
        confidence_level=CONFIDENCE, n_resamples=RESAMPLES, random_state=0,
    ).confidence_interval  # fmt: skip
    return Interval(value, float(found.low), float(found.high))


def at_work(works: Sequence[float], values: np.ndarray, work: float) -> np.ndarray:
    """Values [prompts] of a row at some work, on lines between where it was measured; the nearest ones outside.

    works [points]: of its measurements. values [points, prompts].
    """
    order = np.argsort(works)
    falling = np.asarray(works, float)[order], np.asarray(values, float)[order]
    return np.array([np.interp(work, falling[0], column) for column in falling[1].T])


def work_for(works: Sequence[float], values: Sequence[float], value: float) -> float:
    """The least work at which a row reaches a value, on lines between its points; its most where it never does."""
    points = sorted(zip(works, values, strict=True))
    if points[0][1] >= value:
        return points[0][0]
    for (before, low), (after, high) in zip(points, points[1:], strict=False):
        if low < value <= high:
            return before + (value - low) / (high - low) * (after - before)
    return points[-1][0]


def saving(work: float, values: np.ndarray, works: Sequence[float], others: np.ndarray) -> Interval:
    """What part less a row computes than another one does for the same mean.

    work, values [prompts]: of the row. works [points], others [points, prompts]: of the other one.
    """

    def saved(chosen: np.ndarray) -> float:
        return 1 - work / work_for(works, others[:, chosen].mean(axis=1).tolist(), float(values[chosen].mean()))

    prompts = len(values)
    drawn = np.random.default_rng(0).integers(0, prompts, (RESAMPLES // 5, prompts))
    low, high = np.percentile(
        [saved(chosen) for chosen in drawn], [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2]
    )
    return Interval(saved(np.arange(prompts)), float(low), float(high))
