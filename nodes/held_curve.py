"""Draws what was held against the block threshold, evaluation by evaluation, below the grid and on its x axis."""

from __future__ import annotations

import math

import numpy as np
from PIL import ImageDraw

from .canvas import BACKGROUND, LINE, PALETTE, TEXT, Entry, Picture
from .held import Curve, Numbers
from .skip_grid import Grid

HEIGHT = 120
FORCED, TICK = "#404040", "#4a4a4a"
DECADES = 5  # the axis never spans more: one tiny value would flatten all others


class Axis:
    """A logarithmic y axis from `top` down to `top + HEIGHT` over positive values."""

    def __init__(self, values: Numbers, top: float):
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
        """Round values within the axis: 1, 2 and 5 times the powers of ten, or these alone where they are many."""
        factors = (1, 2, 5) if self.high - self.low < 2 else (1,)
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        values = [factor * 10.0**power for power in powers for factor in factors]
        return [value for value in values if self.low <= math.log10(value) <= self.high]


def draw_curve(picture: Picture, grid: Grid, curve: Curve) -> None:
    """Draw legend, axis and curve, and move on below them."""
    picture.legend(grid.gutter, _entries(curve))
    draw = picture.reserve(HEIGHT + 8)
    axis = Axis(np.r_[curve.held, curve.realised, curve.threshold], picture.y)
    _draw_forced(draw, grid, axis, curve)
    _draw_ticks(picture, grid, axis)
    for evaluation in np.flatnonzero(np.isfinite(curve.threshold)):
        y = round(axis.y(curve.threshold[evaluation]))
        draw.line([(grid.x(evaluation), y), (grid.x(evaluation + 1) - 1, y)], fill=TEXT)
    _draw_held(draw, grid, axis, curve)
    for evaluation in np.flatnonzero(np.isfinite(curve.realised)):
        _draw_ring(draw, _middle(grid, evaluation), axis.y(curve.realised[evaluation]), _radius(grid))
    picture.y += HEIGHT + 4


def _draw_forced(draw: ImageDraw.ImageDraw, grid: Grid, axis: Axis, curve: Curve) -> None:
    for evaluation in np.flatnonzero(curve.forced):
        draw.rectangle((grid.x(evaluation), axis.top, grid.x(evaluation + 1) - 1, axis.top + HEIGHT), fill=FORCED)


def _draw_ticks(picture: Picture, grid: Grid, axis: Axis) -> None:
    draw = picture.reserve(0)
    for value in axis.ticks():
        y = round(axis.y(value))
        draw.line([(grid.gutter, y), (grid.x(grid.evaluations) - 2, y)], fill=TICK)
        picture.text(grid.gutter - 13, y, f"{value:g}", anchor="rm")
    draw.line([(grid.gutter - 7, axis.top), (grid.gutter - 7, axis.top + HEIGHT)], fill=LINE)


def _draw_held(draw: ImageDraw.ImageDraw, grid: Grid, axis: Axis, curve: Curve) -> None:
    """A line through neighbouring evaluations, and points in the colour of what follows from them."""
    known = np.flatnonzero(np.isfinite(curve.held))
    points = {e: (_middle(grid, e), axis.y(curve.held[e])) for e in known}
    for stretch in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        draw.line([points[e] for e in stretch], fill=TEXT)
    for e, (x, y) in points.items():
        within = curve.held[e] <= curve.threshold[e]
        _draw_point(draw, x, y, PALETTE["predicted" if within else "computed"], _radius(grid))


def _middle(grid: Grid, evaluation: int) -> float:
    # A cell's last column of pixels is the gap to the next one.
    return grid.x(evaluation + 0.5) - 1


def _radius(grid: Grid) -> int:
    return min(3, grid.cell[0] // 2 - 1)


def _draw_point(draw: ImageDraw.ImageDraw, x: float, y: float, colour: str, radius: int = 3) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=TEXT)


def _draw_ring(draw: ImageDraw.ImageDraw, x: float, y: float, radius: int = 3) -> None:
    _draw_point(draw, x, y, BACKGROUND, radius)


def _entries(curve: Curve) -> list[Entry]:
    """What is drawn, and how it looks."""
    entries: list[Entry] = [(curve.measure, _draw_held_swatch)]
    if np.isfinite(curve.realised).any():
        entries.append(("measured error", lambda draw, x, y: _draw_ring(draw, x + 7, y + 7)))
    if np.isfinite(curve.threshold).any():
        text = threshold_text(curve.threshold)
        entries.append((text, lambda draw, x, y: draw.line([(x, y + 7), (x + 13, y + 7)], fill=TEXT)))
    if curve.forced.any():
        entries.append(("computed in any case", lambda draw, x, y: draw.rectangle((x, y, x + 12, y + 12), fill=FORCED)))
    return entries


def _draw_held_swatch(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.line([(x, y + 11), (x + 13, y + 3)], fill=TEXT)
    _draw_point(draw, x + 4, y + 9, PALETTE["predicted"])
    _draw_point(draw, x + 10, y + 5, PALETTE["computed"])


def threshold_text(threshold: Numbers) -> str:
    """The threshold, or from which to which it went."""
    known = threshold[np.isfinite(threshold)]
    low, high = f"{known.min():.3g}", f"{known.max():.3g}"
    return f"block_threshold {low}" if low == high else f"block_threshold {low} to {high}"
