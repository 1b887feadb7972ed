"""What a run held against its block threshold at every evaluation, as far as its report tells.

web/lib/held.mjs and web/lib/curve.mjs do the same for the widget; the rules are fastcache_core/policies.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .report_data import numbers, rows_of_numbers

Numbers = NDArray[np.float64]

# Rules with a threshold, and what they hold against it.
MEASURES = {"significance": "expected error", "change": "change", "first_block": "change"}


@dataclass
class Curve:
    """Arrays [evaluations], NaN where nothing is known; `measure` says what was held against the threshold.

    low, middle, high: of what was decided about at once; the same number where one was held for all of it.
    realised: the errors that were measured. forced: whether the evaluation was computed whatever the threshold.
    """

    measure: str
    low: Numbers
    middle: Numbers
    high: Numbers
    realised: Numbers
    threshold: Numbers
    forced: NDArray[np.bool_]


def curve_of(report: dict) -> Curve | None:
    """The curve of a report; None where nothing was held against a threshold."""
    run = report["run"] if isinstance(report.get("run"), dict) else {}
    rule = run.get("rule")
    measure = MEASURES.get(rule) if isinstance(rule, str) else None
    shape = (len(report["computed"]), len(report["blocks"]))
    sites = sites_of(run, shape[1])
    own = np.isfinite(numbers(run.get("own_thresholds"), shape[1]))
    sizes = rows_of_numbers(report.get("size"), shape)[:, sites]
    if rule == "significance":
        # A site's share is its part in the work of all sites, also of those that are not in the sum.
        expected = np.where(own, np.nan, rows_of_numbers(report.get("error_expected"), shape))[:, sites]
        low = middle = high = weighted_sum(expected, last_before(sizes))
    else:
        low, middle, high = extent(rows_of_numbers(report.get("change"), shape)[:, sites])
    curve = Curve(
        measure or "",
        *(low, middle, high),
        weighted_mean(rows_of_numbers(report.get("error_realised"), shape)[:, sites], sizes),
        thresholds_of(report, run, shape[0]),
        np.isfinite(numbers(report.get("forced"), shape[0])),
    )
    return curve if measure and (curve.middle > 0).any() else None


def sites_of(run: dict, blocks: int) -> list[int]:
    """The first block of everything that was decided about at once; every block where the report does not tell."""
    sites = run.get("sites")
    firsts = [site[0] for site in sites if isinstance(site, list) and site] if isinstance(sites, list) else []
    usable = [first for first in firsts if isinstance(first, int) and 0 <= first < blocks]
    return usable if usable and len(usable) == len(sites) else list(range(blocks))


def weighted_sum(values: Numbers, weights: Numbers) -> Numbers:
    """Sum [evaluations] of values [evaluations, sites] by their part in all weights; what is unknown adds nothing."""
    known = np.isfinite(values)
    weights = _usable(weights)
    total = weights.sum(axis=1)
    summed = np.divide((np.nan_to_num(values) * weights).sum(axis=1), total, out=np.zeros(len(values)), where=total > 0)
    return np.where(known.any(axis=1), summed, np.nan)


def weighted_mean(values: Numbers, weights: Numbers) -> Numbers:
    """Mean [evaluations] of the known values [evaluations, sites], by weight; NaN where none is known."""
    return weighted_sum(values, np.where(np.isfinite(values), _usable(weights), 0.0))


def _usable(weights: Numbers) -> Numbers:
    """Weights with 0 for unknown ones; equal ones at evaluations of which none is known, as in old reports."""
    found = np.nan_to_num(weights)
    return np.where(found.sum(axis=1, keepdims=True) > 0, found, 1.0)


def last_before(values: Numbers) -> Numbers:
    """At every evaluation the last number that was known before it, NaN where there was none."""
    before = np.full_like(values, np.nan)
    for evaluation in range(1, len(values)):
        fresh = values[evaluation - 1]
        before[evaluation] = np.where(np.isfinite(fresh), fresh, before[evaluation - 1])
    return before


def extent(values: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Least, median and largest [evaluations] of the known values [evaluations, sites]."""
    ordered = np.sort(values, axis=1)  # NaN last
    known = np.isfinite(values).sum(axis=1)
    last = np.maximum(known - 1, 0)
    row = np.arange(len(values))
    return ordered[:, 0], ordered[row, (last + 1) // 2], ordered[row, last]


def thresholds_of(report: dict, run: dict, evaluations: int) -> Numbers:
    """The block threshold at every evaluation; 0, which is off, has no place on a logarithmic axis."""
    curves = report.get("thresholds")
    found = numbers(curves.get("block") if isinstance(curves, dict) else None, evaluations)
    found = np.where(np.isfinite(found), found, numbers([run.get("block_threshold")], 1))
    return np.where(found > 0, found, np.nan)
