"""Numbers along the schedule that calibration measured for one model, on which rules of some methods rest."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# What rules look for (policies.py).
MAGNITUDE, OF_STATE, OF_TIME, POLYNOMIAL = "magnitude", "sensitivity_state", "sensitivity_time", "polynomial"


@dataclass(frozen=True)
class Curves:
    """sigmas: of the evaluations of calibration, [E], in any order. values: by name, one number an evaluation [E].
    coefficients: by name, of polynomials, the highest power first."""

    sigmas: list[float]
    values: dict[str, list[float]] = field(default_factory=dict)
    coefficients: dict[str, list[float]] = field(default_factory=dict)

    def at(self, name: str, sigma: float) -> float:
        """The value at a sigma, on lines between those measured, beyond the ends the nearest. KeyError for no such."""
        known, values = -np.array(self.sigmas), np.array(self.values[name])
        order = np.argsort(known, kind="stable")  # some samplers go back in a step
        return float(np.interp(-sigma, known[order], values[order]))
