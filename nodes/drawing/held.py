"""What a run held against its block threshold at every evaluation (docs/report.md: `held`, `realised`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...fastcache_core.policies import MEASURES
from .report_data import numbers

Numbers = NDArray[np.float64]


@dataclass
class Curve:
    """Arrays [evaluations], NaN where nothing is known; `measure` says what was held against the threshold.

    realised: the errors that were measured. forced: whether the evaluation was computed whatever the threshold.
    """

    measure: str
    held: Numbers
    realised: Numbers
    threshold: Numbers
    forced: NDArray[np.bool_]


def curve_of(report: dict) -> Curve | None:
    """The curve of a report; None where nothing was held against a threshold."""
    run = report["run"] if isinstance(report.get("run"), dict) else {}
    measure = MEASURES.get(run["rule"]) if isinstance(run.get("rule"), str) else None
    evaluations = len(report["computed"])
    held, realised, forced = (numbers(report.get(key), evaluations) for key in ("held", "realised", "forced"))
    if measure is None or not (held > 0).any():
        return None
    return Curve(measure, held, realised, thresholds_of(report, run, evaluations), np.isfinite(forced))


def thresholds_of(report: dict, run: dict, evaluations: int) -> Numbers:
    """The block threshold at every evaluation; 0, which is off, has no place on a logarithmic axis."""
    curves = report.get("thresholds")
    found = numbers(curves.get("block") if isinstance(curves, dict) else None, evaluations)
    found = np.where(np.isfinite(found), found, numbers([run.get("block_threshold")], 1))
    return np.where(found > 0, found, np.nan)
