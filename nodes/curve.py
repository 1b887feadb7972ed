"""Draws what was held against the block threshold, evaluation by evaluation, below the grid and on its x axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from .canvas import LINE, PALETTE, TEXT, Entry, Picture
from .report_data import numbers, rows_of_numbers
from .skip_grid import Grid

HEIGHT = 120
FRAME, BAND = "#555555", "#3a3a3a"
DECADES = 4  # the axis never spans more: one tiny value would flatten all others


@dataclass
class Curve:
    """Arrays [evaluations], NaN where nothing is known; `measure` says what `held` is."""

    measure: str
    held: NDArray[np.float64]
    realised: NDArray[np.float64]
    threshold: NDArray[np.float64]
    forced: NDArray[np.bool_]


def curve_of(report: dict) -> Curve | None:
    """The curve of a report; None where nothing was measured. What old reports lack is taken as unknown."""
    run = report["run"] if isinstance(report.get("run"), dict) else {}
    shape = (len(report["computed"]), len(report["blocks"]))
    significance = run.get("rule") == "significance"
    # The rule holds the blocks' expected errors against the threshold by their shares of the work, others a plain mean.
    shares = numbers(report.get("work"), shape[1]) if significance else np.ones(shape[1])
    held = rows_of_numbers(report.get("error_expected" if significance else "change"), shape)
    realised = rows_of_numbers(report.get("error_realised"), shape)
    curve = Curve(
        "expected error" if significance else "change",
        mean_over_blocks(held, shares),
        mean_over_blocks(realised, shares),
        _thresholds(report, run, shape[0]),
        np.isfinite(numbers(report.get("forced"), shape[0])),
    )
    return curve if (np.r_[curve.held, curve.realised] > 0).any() else None


def mean_over_blocks(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean [evaluations] of [evaluations, blocks] by the blocks' shares, over the blocks with a value; NaN for none."""
    usable = np.isfinite(shares).all() and shares.sum() > 0
    weights = np.isfinite(values) * (shares if usable else 1.0)
    total = weights.sum(axis=1)
    return np.divide(
        (np.nan_to_num(values) * weights).sum(axis=1), total, out=np.full_like(total, np.nan), where=total > 0
    )


def _thresholds(report: dict, run: dict, evaluations: int) -> NDArray[np.float64]:
    """The block threshold at every evaluation; 0, off, has no place on a logarithmic axis."""
    over_evaluations = report.get("thresholds")
    found = numbers(over_evaluations.get("block") if isinstance(over_evaluations, dict) else None, evaluations)
    single = numbers([run.get("block_threshold")], 1)[0]
    found = np.where(np.isfinite(found), found, single)
    return np.where(found > 0, found, np.nan)


class Axis:
    """A logarithmic y axis from `top` down to `top + HEIGHT` over positive values."""

    def __init__(self, values: NDArray[np.float64], top: float):
        known = values[np.isfinite(values) & (values > 0)]
        high = math.log10(known.max())
        low = max(math.log10(known.min()), high - DECADES)
        middle, reach = (low + high) / 2, max(high - low, 0.5) / 2 + 0.1
        self.low, self.high, self.top = middle - reach, middle + reach, top

    def y(self, value: float) -> float:
        """Where a value lies; what is too small for the axis lies on its lower end."""
        level = max(math.log10(value), self.low) if value > 0 else self.low
        return self.top + (self.high - level) / (self.high - self.low) * HEIGHT

    def ticks(self) -> list[float]:
        """Round values within the axis: powers of ten, and 2 and 5 times them where few powers would be shown."""
        factors = (1, 2, 5) if self.high - self.low < 2 else (1,)
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        values = [factor * 10.0**power for power in powers for factor in factors]
        return [value for value in values if self.low <= math.log10(value) <= self.high]


def draw_curve(picture: Picture, grid: Grid, curve: Curve) -> None:
    """Draw legend, axis and curve, and move on below them."""
    picture.legend(grid.gutter, _entries(curve))
    draw = picture.reserve(HEIGHT + 8)
    axis = Axis(np.r_[curve.held, curve.realised, curve.threshold], picture.y)
    right = grid.x(grid.evaluations) - 2
    for evaluation in np.flatnonzero(curve.forced):
        draw.rectangle((grid.x(evaluation), axis.top, grid.x(evaluation + 1) - 2, axis.top + HEIGHT), fill=BAND)
    for value in axis.ticks():
        draw.line([(grid.gutter, axis.y(value)), (right, axis.y(value))], fill=FRAME)
        picture.text(grid.gutter - 13, axis.y(value), f"{value:g}", anchor="rm")
    draw.line([(grid.gutter - 7, axis.top), (grid.gutter - 7, axis.top + HEIGHT)], fill=LINE)
    _draw_threshold(draw, grid, axis, curve.threshold)
    _draw_held(draw, grid, axis, curve.held)
    for evaluation in np.flatnonzero(np.isfinite(curve.realised)):
        _draw_dot(draw, grid.x(evaluation + 0.5) - 1, axis.y(curve.realised[evaluation]))
    picture.y += HEIGHT + 4


def _draw_held(draw: ImageDraw.ImageDraw, grid: Grid, axis: Axis, held: NDArray[np.float64]) -> None:
    """A line through neighbouring evaluations; a short dash for one without neighbours."""
    known = np.flatnonzero(np.isfinite(held))
    for stretch in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        points = [(grid.x(e + 0.5) - 1, axis.y(held[e])) for e in stretch]
        if len(points) == 1:
            (x, y), reach = points[0], grid.cell[0] / 3
            points = [(x - reach, y), (x + reach, y)]
        draw.line(points, fill=PALETTE["mark"], width=2)


def _draw_threshold(draw: ImageDraw.ImageDraw, grid: Grid, axis: Axis, threshold: NDArray[np.float64]) -> None:
    """Dashes in steps, one step an evaluation."""
    for evaluation in np.flatnonzero(np.isfinite(threshold)):
        y = axis.y(threshold[evaluation])
        for x in range(int(grid.x(evaluation)), int(grid.x(evaluation + 1))):
            if (x - grid.gutter) % 9 < 6:
                draw.point((x, round(y)), fill=TEXT)


def _draw_dot(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=PALETTE["computed"])


def _entries(curve: Curve) -> list[Entry]:
    """What is drawn, and how it looks."""
    entries: list[Entry] = []
    if np.isfinite(curve.held).any():
        entries.append((curve.measure, lambda draw, x, y: draw.line([(x, y + 7), (x + 13, y + 7)], PALETTE["mark"], 2)))
    if np.isfinite(curve.realised).any():
        entries.append(("realised error", lambda draw, x, y: _draw_dot(draw, x + 7, y + 7)))
    if np.isfinite(curve.threshold).any():
        entries.append((threshold_text(curve.threshold), _draw_threshold_swatch))
    if curve.forced.any():
        entries.append(("computed in any case", lambda draw, x, y: draw.rectangle((x, y, x + 12, y + 12), fill=BAND)))
    return entries


def _draw_threshold_swatch(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.line([(x, y + 7), (x + 5, y + 7)], fill=TEXT)
    draw.line([(x + 9, y + 7), (x + 13, y + 7)], fill=TEXT)


def threshold_text(threshold: NDArray[np.float64]) -> str:
    """The threshold, or from which to which it went."""
    known = threshold[np.isfinite(threshold)]
    low, high = f"{known.min():.3g}", f"{known.max():.3g}"
    return f"block_threshold {low}" if low == high else f"block_threshold {low} to {high}"
