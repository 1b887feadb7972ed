"""What the pack's pictures are drawn with: a canvas that grows, the colours of the data, cells, a legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

# web/lib/palette.mjs has the same colours of the data; a test compares them.
PALETTE = {"computed": "#f2b134", "predicted": "#27527f", "mark": "#7fa8d1"}
BACKGROUND, TEXT, LINE = "#222222", "#dddddd", "#777777"

MARGIN, GAP = 16, 22
MIN_WIDTH = 640
SIZE, CHARACTER = 12, 7  # pixels of the usual font, and about those of a letter
MARKED = 8  # pixels below which a cell has no room for a mark beside its shade

# A legend's entry: its text, and what draws its swatch into the 14 x 14 pixels right of and below a point.
Entry = tuple[str, Callable[[ImageDraw.ImageDraw, int, int], None]]


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

    def text(self, x: float, y: float, text: str, size: int = SIZE, anchor: str = "lm") -> None:
        """Write one line; fonts without outlines know only Latin-1 and only their own anchor."""
        font = _font(size)
        draw = ImageDraw.Draw(self.image)
        if isinstance(font, ImageFont.FreeTypeFont):
            draw.text((x, y), text, fill=TEXT, font=font, anchor=anchor)
            return
        width = draw.textlength(latin := text.encode("latin-1", "replace").decode("latin-1"), font=font)
        shift = {"l": 0.0, "m": width / 2, "r": width}[anchor[0]]
        draw.text((x - shift, y - 6), latin, fill=TEXT, font=font)

    def legend(self, x: int, entries: Sequence[Entry]) -> None:
        """Swatches and what they mean, from `x` on, in as many lines as they need; moves on below them."""
        left = x
        draw = self.reserve(24)
        for text, draw_swatch in entries:
            width = 35 + math.ceil(draw.textlength(text, font=_font(SIZE)))
            if x > left and x + width > self.image.width:
                self.y += 20
                x, draw = left, self.reserve(24)
            draw_swatch(draw, x, self.y + 2)
            self.text(x + 19, self.y + 8.5, text)
            x += width
        self.y += 26

    def cropped(self) -> Image.Image:
        """The picture down to what was drawn, and its margin."""
        self.reserve(0)
        return self.image.crop((0, 0, self.image.width, self.y + MARGIN))


def shade(fraction: float) -> tuple[int, int, int]:
    """Colour of a cell of which `fraction` (0 predicted, 1 computed) was computed."""
    return tuple(int(value) for value in shades(np.asarray([fraction]))[0])


def shades(fractions: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours [..., 3] between predicted (0) and computed (1)."""
    low, high = (np.array(ImageColor.getrgb(PALETTE[name]), dtype=np.float64) for name in ("predicted", "computed"))
    return np.floor(low + (high - low) * fractions[..., None] + 0.5).astype(np.uint8)


def draw_cell(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, height: int, fraction: float) -> None:
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


def draw_split_cell(
    draw: ImageDraw.ImageDraw, x: int, y: int, width: int, height: int, fractions: Sequence[float]
) -> None:
    """One cell of branches that were treated differently: their shades side by side, the first one on the left."""
    edges = np.linspace(x, x + width - 1, len(fractions) + 1).round().astype(int).tolist()
    for fraction, left, right in zip(fractions, edges, edges[1:], strict=False):
        if right > left:
            draw.rectangle((left, y, right - 1, y + height - 2), fill=shade(fraction))


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font; before 10.1, or without FreeType, it comes in one size only."""
    try:
        return ImageFont.load_default(size=size)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()
