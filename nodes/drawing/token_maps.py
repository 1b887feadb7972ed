"""Draws the token maps of a report: one an evaluation, bare or over the picture, and frames or samples of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from .canvas import GAP, MARGIN, PALETTE, Picture, shades

THUMBNAIL, OVER_PICTURE, TILE = 72, 96, 144  # pixels of the longest side
TILES = 8  # frames or samples that are shown of one evaluation, at most
SHADED = 0.62  # how much of a predicted token's colour is the palette's; the rest is the picture
OUTLINED = 6  # pixels of a token from which on there is room for a line around it

# Pictures per sample and frame, as nodes/drawing/pictures.py chooses them; samples that have none are left out.
Pictures = Sequence[Sequence[Image.Image]]


def draw_token_maps(picture: Picture, masks: NDArray[np.uint8], pictures: Pictures) -> None:
    """Draw the maps of all evaluations, and with pictures of several samples or frames those of the most mixed one."""
    samples, frames = masks.shape[1:3]
    if pictures and frames == 1:
        maps = [overlaid(pictures[0][0], mask[0, 0], OVER_PICTURE) for mask in masks]
        among = [f"sample 1 of {samples}"] * (samples > 1)
    else:
        maps = [_thumbnail(mask.mean(axis=(0, 1))) for mask in masks]
        shares = [f"{samples} samples"] * (samples > 1) + [f"{frames} frames"] * (frames > 1)
        among = [f"shade: share of {' x '.join(shares)}"] if shares else []
    caption = f"tokens computed at each evaluation{f' ({among[0]})' if among else ''}"
    _draw_row(picture, caption, maps, range(1, len(maps) + 1))
    if pictures and samples * frames > 1:
        _draw_most_mixed(picture, masks, pictures)


def _draw_most_mixed(picture: Picture, masks: NDArray[np.uint8], pictures: Pictures) -> None:
    """Up to `TILES` frames of the first sample, or samples of a batch of images, at the most mixed evaluation."""
    frames = masks.shape[2]
    evaluation = most_mixed(masks)
    if evaluation is None:
        return
    kind, count = ("frame", frames) if frames > 1 else ("sample", min(len(pictures), masks.shape[1]))
    shown = evenly(count, TILES)
    places = [(0, i) if frames > 1 else (i, 0) for i in shown]
    tiles = [overlaid(pictures[s][f], masks[evaluation, s, f], TILE) for s, f in places]
    # Counted from 1, as everything that people read.
    caption = f"tokens computed at evaluation {evaluation + 1}, {kind} by {kind}"
    _draw_row(picture, caption, tiles, [i + 1 for i in shown])


def most_mixed(masks: NDArray[np.uint8]) -> int | None:
    """The evaluation whose masks are closest to half computed; None where all compute all tokens or none."""
    shares = masks.mean(axis=tuple(range(1, masks.ndim)))
    mixed = shares * (1 - shares)
    return int(mixed.argmax()) if mixed.max() > 0 else None


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` things, evenly spread, the first and the last among them."""
    shown = min(count, most)
    return [round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)]


def overlaid(picture: Image.Image, computed: NDArray[np.uint8], longest: int) -> Image.Image:
    """The picture with predicted tokens shaded; `computed` [rows, columns] covers all of it."""
    size = _scaled((picture.width, picture.height), longest)
    enlarged = size[0] > picture.width
    base = picture.convert("RGB").resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
    predicted = Image.fromarray((255 * (1 - computed)).astype(np.uint8))
    finer = predicted.width > size[0] or predicted.height > size[1]
    mask = predicted.resize(size, Image.Resampling.BOX if finer else Image.Resampling.NEAREST)
    colour = Image.new("RGB", size, ImageColor.getrgb(PALETTE["predicted"]))
    shaded = Image.composite(colour, base, mask.point(lambda value: round(SHADED * value)))
    return shaded if finer or size[0] < OUTLINED * predicted.width else outlined(shaded, mask)


def outlined(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with a line between tokens that were computed and tokens that were predicted."""
    pixels, predicted = np.array(picture), np.asarray(mask) > 0
    line = np.zeros_like(predicted)
    line[:, 1:] |= predicted[:, 1:] != predicted[:, :-1]
    line[1:] |= predicted[1:] != predicted[:-1]
    pixels[line] = ImageColor.getrgb(PALETTE["computed"])
    return Image.fromarray(pixels)


def _draw_row(picture: Picture, caption: str, maps: Sequence[Image.Image], labels: Sequence[int]) -> None:
    """A caption and numbered maps of one size, in as many lines as they need; moves on below them."""
    width, height = maps[0].size
    step = max(width, 30) + 10
    columns = max((picture.image.width - 2 * MARGIN) // step, 1)
    picture.reserve(GAP)
    picture.y += GAP - 12
    picture.text(MARGIN, picture.y + 6, caption)
    picture.y += 20
    for start in range(0, len(maps), columns):
        picture.reserve(height + 18)
        for column, (image, label) in enumerate(zip(maps[start : start + columns], labels[start:], strict=False)):
            x = MARGIN + column * step
            picture.image.paste(image, (x, picture.y + 14))
            picture.text(x, picture.y + 6, str(label), size=11)
        picture.y += height + 20


def _thumbnail(share: NDArray[np.float64]) -> Image.Image:
    """Token map [rows, columns] scaled by whole numbers up, or averaged down, to about THUMBNAIL pixels."""
    rows, columns = share.shape
    image = Image.fromarray(shades(share))
    longest = max(rows, columns)
    if longest <= THUMBNAIL:
        scale = THUMBNAIL // longest
        return image.resize((columns * scale, rows * scale), Image.Resampling.NEAREST)
    return image.resize(_scaled((columns, rows), THUMBNAIL), Image.Resampling.BOX)


def _scaled(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height with `longest` as the longer one."""
    width, height = size
    return max(width * longest // max(size), 1), max(height * longest // max(size), 1)
