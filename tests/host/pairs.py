"""What may cost only so much, measured in pairs of runs: a busy machine spoils single ones by more than what is sought.

Wall time of two runs, one after the other, differs by several percent on shared machines, whatever runs. So pairs are
added while their median is above the limit, and the test fails where chance alone would hardly put so many above it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

BATCH, BATCHES = 5, 5
CHANCE = 0.01  # by which a cost that is exactly the limit fails


def assert_at_most(limit: float, pair: Callable[[int], list[float]]) -> None:
    """`pair(seed)` measures one pair of runs, of which each should be first in turn, in one number or several; the
    median of each number is at most `limit`, as far as 25 pairs can tell."""
    measured: list[list[float]] = []
    for first in range(1, 1 + BATCH * BATCHES, BATCH):
        measured += [pair(seed) for seed in range(first, first + BATCH)]
        if (np.median(measured, axis=0) <= limit).all():
            return
    above = (np.array(measured) > limit).sum(axis=0)
    chances = [binomtest(int(count), len(measured), alternative="greater").pvalue for count in above]
    if min(chances) < CHANCE:
        medians = np.median(measured, axis=0).round(4).tolist()
        pytest.fail(f"medians of {len(measured)} pairs {medians} for at most {limit}; above it: {above.tolist()}")
