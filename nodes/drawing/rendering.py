"""Draws a report (docs/report.md) as a picture: totals, the block x evaluation grid, the curve, the token maps.

The same picture as the preview node's widget, in the same colours, for saving beside the image it belongs to.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .canvas import CHARACTER, MARGIN, MIN_WIDTH, PALETTE, Entry, Picture, draw_cell, draw_split_cell, shade
from .held import curve_of
from .held_curve import draw_curve
from .report_data import branches_of, check_report, token_masks
from .skip_grid import Grid, group_blocks
from .token_maps import Pictures, draw_token_maps

# What the picture says and looks like as the widget does, beside the picture itself.
__all__ = ["PALETTE", "group_blocks", "render_report", "shade", "totals_text"]


def render_report(report: dict, pictures: Pictures = ()) -> NDArray[np.float32]:
    """Picture of a report as [height, width, 3] in 0..1; a report that cannot be drawn raises `ValueError`.

    pictures: per sample and frame of the report's token grid, what its token map is drawn over.
    """
    check_report(report)
    computed = np.asarray(report["computed"], dtype=np.float64)
    masks = token_masks(report)
    header = [totals_text(report), *report["notes"]]
    if not computed.size:
        picture = Picture(MIN_WIDTH, MARGIN)
        _draw_header(picture, header)
    else:
        grid = Grid(report["blocks"], computed, branches_of(report))
        picture = Picture(max(MIN_WIDTH, grid.width + 2 * MARGIN), MARGIN)
        _draw_header(picture, header)
        picture.legend(grid.gutter, _entries(grid))
        grid.draw(picture)
        grid.draw_axis(picture)
        curve = curve_of(report)
        if curve is not None:
            draw_curve(picture, grid, curve)
        if masks is not None:
            draw_token_maps(picture, masks, pictures)
    return np.asarray(picture.cropped(), dtype=np.float32) / 255


def totals_text(report: dict) -> str:
    """One line about the whole run."""
    count = len(report["computed"])
    size = report["cache_bytes_peak"]
    parts = [f"{_percent(report['computed_fraction'])} of block work computed"]
    if count:
        parts.append(f"{count} {'evaluation' if count == 1 else 'evaluations'}")
    parts.append(f"{report['seconds']['total']:.2f} s (overhead {report['seconds']['overhead']:.2f} s)")
    parts.append(f"cache {size / 1e6:.1f} MB" if size < 1e9 else f"cache {size / 1e9:.2f} GB")
    return ", ".join(parts)


def _draw_header(picture: Picture, lines: Sequence[str]) -> None:
    """The totals, and below them the notes with a bar at their left."""
    picture.reserve(20)
    title, *notes = lines
    picture.text(MARGIN, picture.y + 8, title, size=15)
    picture.y += 26
    for note in notes:
        wrapped = textwrap.wrap(note, (picture.image.width - 2 * MARGIN) // CHARACTER) or [""]
        draw = picture.reserve(17 * len(wrapped))
        draw.rectangle((MARGIN, picture.y, MARGIN + 2, picture.y + 17 * len(wrapped) - 3), fill=PALETTE["computed"])
        for line in wrapped:
            picture.text(MARGIN + 10, picture.y + 7, line, size=13)
            picture.y += 17
        picture.y += 4


def _entries(grid: Grid) -> list[Entry]:
    """The legend of the cells; `shown` binds each swatch's own fraction."""
    states = (("computed", 1.0), ("partial", 0.5), ("predicted", 0.0))
    entries: list[Entry] = [
        (name, lambda draw, x, y, shown=fraction: draw_cell(draw, x, y, 14, 14, shown)) for name, fraction in states
    ]
    if grid.is_split:
        names = " | ".join(grid.names)
        entries.append((names, lambda draw, x, y: draw_split_cell(draw, x, y, 14, 14, (1.0, 0.0))))
    return entries


def _percent(fraction: float) -> str:
    """Whole percent, but never 0 or 100 for something in between."""
    value = 100 * fraction
    if 0 < value < 1:
        return "< 1 %"
    if 99 < value < 100:
        return "> 99 %"
    return f"{int(value + 0.5)} %"
