"""Thresholds that change along the schedule: the input that takes them, and its values as factors."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

THRESHOLD_CURVE = io.MultiType.Input(
    "threshold_curve",
    types=[io.Sigmas, io.Custom("FLOATS")],
    optional=True,
    tooltip="Factors on the threshold along the schedule, spread evenly over its steps: SIGMAS of any scheduler, or "
    "FLOATS. Below 1: more faithful there; above 1: faster there. Nothing connected: 1 throughout.",
)


def curve_of(values: Any) -> tuple[float, ...]:
    """SIGMAS (a tensor), FLOATS (a list, or one number) or None as factors on a threshold; ValueError for others."""
    if values is None:
        return ()
    numbers = values.flatten().tolist() if isinstance(values, Tensor) else values
    numbers = [numbers] if isinstance(numbers, int | float) else numbers
    if not isinstance(numbers, list | tuple) or not all(isinstance(number, int | float) for number in numbers):
        raise ValueError(f"threshold_curve is a {type(values).__name__}, but it must be SIGMAS or a list of numbers.")
    if not numbers:
        raise ValueError("threshold_curve is empty; connect at least one number, or nothing.")
    return tuple(map(float, numbers))
