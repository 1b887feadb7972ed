"""Two batches of images, pair by pair: what is compared, the sentences about it, the pictures.

The pictures are in the style of rendering.py, for saving beside the images. Only one pair is held at a time, so that
videos need little more memory than their pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor

from ...fastcache_core.metrics import Closeness
from .canvas import GAP, LINE, MARGIN, MIN_WIDTH, PALETTE, Picture
from .rendering import totals_text

# Colours of no difference to a large one: black, predicted, computed, white. Each is brighter than the one before, so
# that the order survives greyscale and every kind of colour blindness.
HEAT = ("#000000", PALETTE["predicted"], PALETTE["computed"], "#ffffff")
TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # ends of the heat map's scale
SMALL, LARGE = 256, 1024  # pixels of a panel's longer side: fewer are enlarged, more are averaged
PICTURES_BYTES = 2**30  # of all pictures of a batch; panels of longer videos are smaller
BAR = (160, 12)

Pixels = NDArray[np.float32]
Pair = tuple[Pixels, Pixels]


class Pairs:
    """(reference, image) of two IMAGE batches [images, height, width, channels], as [height, width, 3] each.

    What cannot be compared is refused with a ValueError; `notes` tells what was done about the rest.
    """

    def __init__(self, reference: Tensor, image: Tensor):
        self.reference, self.image = reference, image
        self.notes: list[str] = []
        for name, batch in (("reference", reference), ("image", image)):
            if batch.ndim != 4 or batch.shape[-1] not in (1, 3, 4) or not batch.numel():
                raise ValueError(
                    f"The {name} has the shape {tuple(batch.shape)}; only batches [images, height, width, channels] of "
                    "greyscale (1 channel), RGB (3) or RGBA images (4) can be compared."
                )
            if batch.shape[-1] == 4:
                self.notes.append(f"The {name} has transparency, which is not compared.")
        (height, width), other = reference.shape[1:3], image.shape[1:3]
        if other != (height, width):
            raise ValueError(
                f"The reference has {width} x {height} pixels and the image {other[1]} x {other[0]}; only images of "
                "one size can be compared. Sample both at one size, or scale one of them first."
            )
        self.size = (width, height)
        if len(reference) != len(image):
            shorter = "reference" if len(reference) < len(image) else "image"
            self.notes.append(
                f"The reference has {counted(len(reference), 'image')} and the image {counted(len(image), 'image')}: "
                f"the last {shorter} stands for those that are missing."
            )

    def __len__(self) -> int:
        return max(len(self.reference), len(self.image))

    def __iter__(self) -> Iterator[Pair]:
        for number in range(len(self)):
            yield _colours("reference", self.reference, number), _colours("image", self.image, number)


def _colours(name: str, batch: Tensor, number: int) -> Pixels:
    """One image of a batch, or its last one, in three channels."""
    number = min(number, len(batch) - 1)
    pixels = batch[number].float().cpu().numpy()
    if not np.isfinite(pixels).all():
        raise ValueError(
            f"Image {number + 1} of the {name} has pixels that are no numbers (NaN or infinity): sampling or decoding "
            "it went wrong. Try another precision of the model or the VAE."
        )
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]


def comparison_text(pairs: Pairs, measured: Sequence[Closeness], skipped: Sequence[str]) -> str:
    """What was measured, one fact a line; `skipped`: sentences about the run that made the images."""
    identical = sum(one.largest == 0 for one in measured)
    head = f"{counted(len(measured), 'pair')} of {pairs.size[0]} x {pairs.size[1]} pixels"
    if identical == len(measured):
        lines = [f"{head}, identical: PSNR infinite, SSIM 1, largest difference 0."]
    else:
        different = [(number, one) for number, one in enumerate(measured, 1) if one.largest > 0]
        left_out = f"; {identical} of them identical, which the PSNR leaves out" if identical else ""
        lines = [
            f"{head}{left_out}.",
            f"PSNR {_mean_and_worst([(one.psnr, number) for number, one in different], decibels)}.",
            f"SSIM {_mean_and_worst([(one.ssim, number) for number, one in enumerate(measured, 1)], similarity)}.",
            f"Largest difference {_largest([(one.largest, number) for number, one in different])}, of a range of 1.",
        ]
    return "\n".join([*lines, *pairs.notes, *skipped])


def _mean_and_worst(values: list[tuple[float, int]], write: Callable[[float], str]) -> str:
    worst, number = min(values)
    if len(values) == 1:
        return write(worst)
    mean = sum(value for value, _ in values) / len(values)
    return f"{write(mean)} on average, {write(worst)} at worst (pair {number})"


def _largest(values: list[tuple[float, int]]) -> str:
    largest, number = max(values, key=lambda value: value[0])
    return f"{largest:.3g}" if len(values) == 1 else f"{largest:.3g} (pair {number})"


def skipped_text(report: dict) -> list[str]:
    """Sentences about what a sampling run skipped (docs/report.md), and how many plain steps cost as much."""
    rows, fraction, steps = report["computed"], report["computed_fraction"], report["run"]["steps"]
    if not rows:
        return report["notes"]
    touched = sum(min(row) < 1 for row in rows)
    lines = [f"FastCache: {totals_text(report)}; it predicted in {touched} of {len(rows)} evaluations."]
    if touched:
        plain = max(int(fraction * steps + 0.5), 1)
        lines.append(f"The same work as about {plain} of {steps} plain steps, estimated from the work of the blocks.")
    return lines + report["notes"]


def title(number: int, count: int, one: Closeness) -> str:
    """The heading of a pair's picture; number counts from 1."""
    facts = f"PSNR {decibels(one.psnr)}, SSIM {similarity(one.ssim)}, largest difference {one.largest:.3g}"
    return (f"pair {number} of {count}: " if count > 1 else "") + (facts if one.largest else "identical")


def decibels(psnr: float) -> str:
    return f"{psnr:.1f} dB"


def similarity(ssim: float) -> str:
    """Four digits, cut off: what is not equal is not 1.0000."""
    return f"{math.floor(ssim * 1e4) / 1e4:.4f}"


def counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def pictures(pairs: Pairs, through: Iterable[Pair], measured: Sequence[Closeness]) -> Iterator[Pixels]:
    """One picture [height, width, 3] a pair, all of one size: reference, image, difference, with one scale for all.

    `through` gives the pairs once more.
    """
    size = panel_size(*pairs.size, len(pairs))
    top = heat_top(max(one.largest for one in measured))
    for number, (pair, one) in enumerate(zip(through, measured, strict=True), 1):
        yield render_pair(*pair, title(number, len(pairs), one), size, top)


def panel_size(width: int, height: int, count: int) -> tuple[int, int]:
    """Pixels of one of a picture's three panels: whole multiples of small images, large ones reduced."""
    longest = max(width, height)
    if longest < SMALL:
        return width * (SMALL // longest), height * (SMALL // longest)
    room = PICTURES_BYTES / (count * 3 * width * height * 3 * 4)
    factor = min(1, LARGE / longest, math.sqrt(room))
    return max(round(width * factor), 1), max(round(height * factor), 1)


def heat_top(largest: float) -> float:
    """The end of the scale: a round number, so that pictures of several runs can be compared."""
    slack = 1 + 1e-6  # of float32
    return next((top for top in TOPS if largest <= top * slack), TOPS[-1])


def heat(values: NDArray) -> NDArray[np.uint8]:
    """Colours [..., 3] of values from 0 to 1."""
    stops = np.array([ImageColor.getrgb(colour) for colour in HEAT])
    places = np.linspace(0, 1, len(stops))
    channels = [np.interp(values, places, stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def render_pair(reference: Pixels, image: Pixels, heading: str, size: tuple[int, int], top: float) -> Pixels:
    """Reference, image and heat map of their difference side by side, panels of `size` (width, height), in 0..1."""
    width, height = size
    difference = np.abs(image - reference).max(axis=-1)
    panels = {
        "reference": _resized(Image.fromarray(_bytes(reference)), size),
        "image": _resized(Image.fromarray(_bytes(image)), size),
        "difference": Image.fromarray(heat(np.asarray(_resized(Image.fromarray(difference), size)) / top)),
    }
    picture = Picture(max(MIN_WIDTH, 3 * width + 2 * GAP + 2 * MARGIN), MARGIN)
    picture.reserve(height + 100)
    picture.text(MARGIN, picture.y + 8, heading, size=15)
    picture.y += 34
    for place, (name, panel) in enumerate(panels.items()):
        x = MARGIN + place * (width + GAP)
        picture.text(x, picture.y, name)
        picture.image.paste(panel, (x, picture.y + 12))
    picture.y += 12 + height + 10
    _draw_legend(picture, top)
    return np.asarray(picture.cropped(), dtype=np.float32) / 255


def _draw_legend(picture: Picture, top: float) -> None:
    draw, (width, height) = picture.reserve(20), BAR
    x, y = MARGIN + 16, picture.y + 2
    picture.text(MARGIN, y + height / 2, "0")
    draw.rectangle((x - 1, y - 1, x + width, y + height), outline=LINE)
    picture.image.paste(Image.fromarray(heat(np.tile(np.linspace(0, 1, width), (height, 1)))), (x, y))
    picture.text(x + width + 8, y + height / 2, f"{top:g}   difference, of the channel that differs most")
    picture.y += 20


def _bytes(pixels: Pixels) -> NDArray[np.uint8]:
    return (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


def _resized(panel: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Pixels repeated when there are more of them, averaged when there are fewer."""
    if panel.size == size:
        return panel
    return panel.resize(size, Image.Resampling.NEAREST if size[0] > panel.width else Image.Resampling.BOX)
