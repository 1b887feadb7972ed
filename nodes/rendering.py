"""Draws a report (docs/report.md) as a picture: totals, the block x evaluation grid, a token map per evaluation.

The same picture as the preview node's widget, in the same colours, for saving beside the image it belongs to.
"""

from __future__ import annotations

import base64
import binascii
import re
import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

SCHEMA = "fastcache.report/1"

# web/lib/palette.mjs has the same colours of the data; a test compares them.
PALETTE = {"computed": "#f2b134", "predicted": "#27527f", "mark": "#7fa8d1"}
BACKGROUND, TEXT, LINE = "#222222", "#dddddd", "#777777"

MARGIN, GAP = 16, 22
GROUP_GAP = 5
MARKED = 8  # pixels below which a cell has no room for a mark beside its shade
THUMBNAIL = 72
MIN_WIDTH = 640


def render_report(report: dict) -> NDArray[np.float32]:
    """Picture of a report as [height, width, 3] in 0..1; a report that cannot be drawn raises `ValueError`."""
    check_report(report)
    computed = np.asarray(report["computed"], dtype=np.float64)
    masks = _token_shares(report, len(computed))
    header = [totals_text(report), *report["notes"]]
    if not computed.size:
        picture = Picture(MIN_WIDTH, MARGIN)
        _draw_header(picture, header)
    else:
        grid = _Grid(report["blocks"], computed)
        picture = Picture(max(MIN_WIDTH, grid.width + 2 * MARGIN), MARGIN)
        _draw_header(picture, header)
        _draw_legend(picture, grid.gutter)
        grid.draw(picture)
        if masks is not None:
            _draw_thumbnails(picture, masks, report["tokens"])
    return np.asarray(picture.cropped(), dtype=np.float32) / 255


def check_report(report: dict) -> None:
    """Raise `ValueError`, with a sentence, unless the parts that are drawn have the right types and shapes."""
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        found = report.get("schema") if isinstance(report, dict) else type(report).__name__
        raise ValueError(f"The report has the schema {found!r}; only {SCHEMA!r} can be drawn.")
    for key in ("blocks", "notes"):
        if not _is_list_of(report.get(key), str):
            raise ValueError(f"The report's {key!r} is not a list of texts.")
    blocks, rows = report["blocks"], report.get("computed")
    if not _is_list_of(rows, list) or any(len(row) != len(blocks) for row in rows):
        raise ValueError(f"The report's 'computed' does not have one number for each of {len(blocks)} blocks.")
    if any(not _is_list_of(row, (int, float)) or any(not 0 <= value <= 1 for value in row) for row in rows):
        raise ValueError("The report's 'computed' has a value that is not between 0 and 1.")
    seconds = report.get("seconds")
    totals = [report.get("computed_fraction"), report.get("cache_bytes_peak")]
    totals += [seconds.get("total"), seconds.get("overhead")] if isinstance(seconds, dict) else [None]
    if not _is_list_of(totals, (int, float)) or not np.isfinite(totals).all():
        raise ValueError("The report's totals (computed_fraction, cache_bytes_peak, seconds) are not all numbers.")


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


def shade(fraction: float) -> tuple[int, int, int]:
    """Colour of a cell of which `fraction` (0 predicted, 1 computed) was computed."""
    return tuple(int(value) for value in _shades(np.asarray([fraction]))[0])


class Picture:
    """A canvas that grows downwards: `y` is where the next part goes."""

    def __init__(self, width: int, y: int):
        self.image = Image.new("RGB", (width, 4 * MARGIN), BACKGROUND)
        self.y = y

    def reserve(self, height: int) -> ImageDraw.ImageDraw:
        """Make room for `height` more pixels below `y`, and return what draws on them."""
        if self.y + height + MARGIN > self.image.height:
            taller = Image.new("RGB", (self.image.width, self.y + height + MARGIN), BACKGROUND)
            taller.paste(self.image)
            self.image = taller
        return ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, text: str, size: int = 12, anchor: str = "lm") -> None:
        """Write one line; fonts without outlines know only Latin-1 and only their own anchor."""
        font = _font(size)
        draw = ImageDraw.Draw(self.image)
        if isinstance(font, ImageFont.FreeTypeFont):
            draw.text((x, y), text, fill=TEXT, font=font, anchor=anchor)
            return
        width = draw.textlength(latin := text.encode("latin-1", "replace").decode("latin-1"), font=font)
        shift = {"l": 0.0, "m": width / 2, "r": width}[anchor[0]]
        draw.text((x - shift, y - 6), latin, fill=TEXT, font=font)

    def cropped(self) -> Image.Image:
        """The picture down to what was drawn, and its margin."""
        self.reserve(0)
        return self.image.crop((0, 0, self.image.width, self.y + MARGIN))


class _Grid:
    """Blocks from top to bottom, evaluations from left to right."""

    def __init__(self, blocks: Sequence[str], computed: NDArray[np.float64]):
        self.computed = computed
        self.groups = group_blocks(blocks)
        evaluations, count = computed.shape
        self.cell = (max(4, min(28, 800 // evaluations)), max(4, min(18, 560 // count)))
        longest = max([len(label) for label, _, _ in self.groups] + [len("evaluation")])
        self.gutter = MARGIN + 7 * min(longest, 40) + 14
        self.width = self.gutter - MARGIN + evaluations * self.cell[0]
        self.height = count * self.cell[1] + (len(self.groups) - 1) * GROUP_GAP

    def draw(self, picture: Picture) -> None:
        """Draw cells, the ranges of blocks and the axis of evaluations, and move on below them."""
        draw = picture.reserve(self.height + 24)
        width, height = self.cell
        for number, (label, first, count) in enumerate(self.groups):
            top = picture.y + first * height + number * GROUP_GAP
            draw.line([(self.gutter - 7, top), (self.gutter - 7, top + count * height - 2)], fill=LINE)
            if count * height >= 10:
                picture.text(self.gutter - 13, top + count * height / 2, label[:40], anchor="rm")
            for evaluation in range(len(self.computed)):
                for i in range(count):
                    fraction = self.computed[evaluation, first + i]
                    _draw_cell(draw, self.gutter + evaluation * width, top + i * height, width, height, fraction)
        picture.y += self.height + 12
        self._draw_axis(picture)
        picture.y += 12

    def _draw_axis(self, picture: Picture) -> None:
        picture.text(self.gutter - 13, picture.y, "evaluation", anchor="rm")
        evaluations = len(self.computed)
        room = 6 + 7 * len(str(evaluations))
        step = next((n for n in (1, 5, 10, 20, 50, 100, 200, 500) if n * self.cell[0] >= room), 1000)
        for number in range(1, evaluations + 1):
            if number == 1 or number % step == 0:
                picture.text(self.gutter + (number - 0.5) * self.cell[0], picture.y, str(number), anchor="mm")


def group_blocks(blocks: Sequence[str]) -> list[tuple[str, int, int]]:
    """Label, first block and count of every run of blocks of one kind: "double 0" to "double 3" are "double 0-3"."""
    runs: list[tuple[str, int, list[str]]] = []
    for first, name in enumerate(blocks):
        kind, index = re.fullmatch(r"(.*?)\s*(\d*)", name, re.DOTALL).groups()
        if runs and runs[-1][0] == kind:
            runs[-1][2].append(index)
        else:
            runs.append((kind, first, [index]))
    return [
        (f"{kind} {numbers[0] + '-' + numbers[-1] if len(numbers) > 1 else numbers[0]}".strip(), first, len(numbers))
        for kind, first, numbers in runs
    ]


def _draw_header(picture: Picture, lines: Sequence[str]) -> None:
    """The totals, and below them the notes with a bar at their left."""
    picture.reserve(20)
    title, *notes = lines
    picture.text(MARGIN, picture.y + 8, title, size=15)
    picture.y += 26
    for note in notes:
        wrapped = textwrap.wrap(note, (picture.image.width - 2 * MARGIN) // 7) or [""]
        draw = picture.reserve(17 * len(wrapped))
        draw.rectangle((MARGIN, picture.y, MARGIN + 2, picture.y + 17 * len(wrapped) - 3), fill=PALETTE["computed"])
        for line in wrapped:
            picture.text(MARGIN + 10, picture.y + 7, line, size=13)
            picture.y += 17
        picture.y += 4


def _draw_legend(picture: Picture, x: int) -> None:
    draw = picture.reserve(24)
    for name, fraction in (("computed", 1.0), ("partial", 0.5), ("predicted", 0.0)):
        _draw_cell(draw, x, picture.y + 2, 14, 14, fraction)
        picture.text(x + 19, picture.y + 8.5, name)
        x += 34 + 7 * len(name)
    picture.y += 26


def _draw_cell(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, height: int, fraction: float) -> None:
    """One cell: its shade, and a stroke (predicted) or a dot (partial) that survive greyscale."""
    right, bottom = x + width - 2, y + height - 2
    draw.rectangle((x, y, right, bottom), fill=shade(fraction))
    if min(width, height) < MARKED:
        return
    cx, cy, reach = (x + right) / 2, (y + bottom) / 2, (min(width, height) - 5) // 2
    if fraction <= 0:
        draw.line([(cx - reach, cy + reach), (cx + reach, cy - reach)], fill=PALETTE["mark"])
    elif fraction < 1:
        radius = max(0.5 * reach, 1.5)
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=PALETTE["computed"])


def _draw_thumbnails(picture: Picture, shares: NDArray[np.float64], tokens: dict) -> None:
    """One small token map per evaluation, in rows; the shade is the share of samples and frames that computed it."""
    frames, samples = tokens["grid"][0], tokens["samples"]
    among = [f"{samples} samples"] * (samples > 1) + [f"{frames} frames"] * (frames > 1)
    caption = "tokens computed at each evaluation" + (f" (shade: share of {' x '.join(among)})" if among else "")
    maps = [_thumbnail(share) for share in shares]
    width, height = maps[0].size
    step = max(width, 30) + 10
    columns = max((picture.image.width - 2 * MARGIN) // step, 1)
    picture.reserve(GAP)
    picture.y += GAP - 12
    picture.text(MARGIN, picture.y + 6, caption)
    picture.y += 20
    for start in range(0, len(maps), columns):
        picture.reserve(height + 18)
        for column, image in enumerate(maps[start : start + columns]):
            x = MARGIN + column * step
            picture.image.paste(image, (x, picture.y + 14))
            picture.text(x, picture.y + 6, str(start + column + 1), size=11)
        picture.y += height + 20


def _thumbnail(share: NDArray[np.float64]) -> Image.Image:
    """Token map [rows, columns] scaled by whole numbers up, or averaged down, to about THUMBNAIL pixels."""
    rows, columns = share.shape
    image = Image.fromarray(_shades(share))
    longest = max(rows, columns)
    if longest <= THUMBNAIL:
        scale = THUMBNAIL // longest
        return image.resize((columns * scale, rows * scale), Image.Resampling.NEAREST)
    size = (max(columns * THUMBNAIL // longest, 1), max(rows * THUMBNAIL // longest, 1))
    return image.resize(size, Image.Resampling.BOX)


def _token_shares(report: dict, evaluations: int) -> NDArray[np.float64] | None:
    """Share [evaluations, rows, columns] of samples and frames that computed a token; None without token maps."""
    tokens = report.get("tokens") or {}
    if not isinstance(tokens, dict):
        raise ValueError(f"The report's 'tokens' is a {type(tokens).__name__}, not an object.")
    masks, grid = tokens.get("computed") or [], tokens.get("grid")
    if not masks or not evaluations:
        return None
    shape = [tokens.get("samples"), *grid] if isinstance(grid, list) else []
    if not isinstance(masks, list) or len(masks) != evaluations or len(shape) != 4 or not _is_list_of(shape, int):
        raise ValueError(f"The report's token masks do not fit {evaluations} evaluations and a grid of frames x h x w.")
    if min(shape) < 0:
        raise ValueError(f"The report's token grid {shape} has a negative size.")
    if not np.prod(shape):
        return None
    return np.stack([_unpack(mask, shape).mean(axis=(0, 1)) for mask in masks])


def _unpack(mask: str, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Bits [samples, frames, rows, columns] of one base64 mask."""
    try:
        packed = np.frombuffer(base64.b64decode(mask, validate=True), dtype=np.uint8)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"A token mask of the report is not base64: {error}.") from error
    count = int(np.prod(shape))
    if len(packed) != -(-count // 8):
        raise ValueError(f"A token mask of the report has {len(packed)} bytes where {count} bits were due.")
    return np.unpackbits(packed, count=count).reshape(shape)


def _shades(fractions: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours [..., 3] between predicted (0) and computed (1)."""
    low, high = (np.array(ImageColor.getrgb(PALETTE[name]), dtype=np.float64) for name in ("predicted", "computed"))
    return np.floor(low + (high - low) * fractions[..., None] + 0.5).astype(np.uint8)


def _percent(fraction: float) -> str:
    """Whole percent, but never 0 or 100 for something in between."""
    value = 100 * fraction
    if 0 < value < 1:
        return "< 1 %"
    if 99 < value < 100:
        return "> 99 %"
    return f"{int(value + 0.5)} %"


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font; before 10.1, or without FreeType, it comes in one size only."""
    try:
        return ImageFont.load_default(size=size)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()


def _is_list_of(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
