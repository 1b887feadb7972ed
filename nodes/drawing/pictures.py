"""Small pictures of a run's result, one per sample and latent frame, to lay under its token maps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LONGEST = 512  # pixels
MOST = 64  # pictures in all
QUALITY = 90

log = logging.getLogger(__name__)


def frame_pictures(images: Tensor, samples: int, frames: int) -> list[list[Image.Image]]:
    """Pictures [samples][frames] of an IMAGE [batch, height, width, channels] in 0..1; `ValueError` if it is none.

    The batch holds the pictures of all samples one after the other. Latent frames share pictures where one for each
    would be too many, and samples that the batch has no picture of are left out.
    """
    _check(images)
    if samples < 1 or frames < 1:
        return []
    count = max(len(images) // samples, 1)
    shown = min(samples, len(images), MOST)
    if len(images) % samples:
        log.info(
            "FastCache Preview: %d pictures are no whole number for each of %d samples; %d samples are shown with %d.",
            *(len(images), samples, shown, count),
        )
    chosen = chosen_frames(frames, count, MOST // shown)
    # Frames that share a picture share one object, which is converted and written once.
    small = [{i: small_picture(images[sample * count + i]) for i in sorted(set(chosen))} for sample in range(shown)]
    return [[of_sample[i] for i in chosen] for of_sample in small]


def chosen_frames(frames: int, count: int, most: int) -> list[int]:
    """Which of `count` pictures of a video stands for each latent frame, `most` different ones at most.

    Latent frames and pictures span the same time, so the first and the last belong together.
    """
    if frames == 1:
        return [0]
    shared = min(frames, max(most, 1))
    slots = [round(i * (shared - 1) / (frames - 1)) for i in range(frames)]
    stand_ins = [round(slot * (frames - 1) / max(shared - 1, 1)) for slot in slots]
    return [round(i * (count - 1) / (frames - 1)) for i in stand_ins]


def small_picture(image: Tensor) -> Image.Image:
    """An image [height, width, channels] as RGB, its longest side at most `LONGEST`; what is no number is black."""
    values = np.nan_to_num(image[..., :3].detach().float().cpu().numpy(), nan=0.0, posinf=1.0, neginf=0.0)
    pixels = (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    picture = Image.fromarray(np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels)
    scale = LONGEST / max(picture.size)
    if scale >= 1:
        return picture
    size = tuple(max(round(side * scale), 1) for side in picture.size)
    return picture.resize(size, Image.Resampling.LANCZOS)


def save_pictures(
    pictures: Sequence[Sequence[Image.Image]], folder: Path, subfolder: str, prefix: str
) -> list[list[dict[str, str]]]:
    """Write each picture once, as JPEG, and return what ComfyUI's /view needs to find them; `OSError` if one fails."""
    references: dict[int, dict[str, str]] = {}
    for picture in (picture for of_sample in pictures for picture in of_sample):
        if id(picture) not in references:
            filename = f"{prefix}_{len(references) + 1:05}_.jpg"
            # Without subsampling: small pictures of saturated colours would be smeared.
            picture.save(folder / filename, quality=QUALITY, subsampling=0)
            references[id(picture)] = {"filename": filename, "subfolder": subfolder, "type": "temp"}
    return [[references[id(picture)] for picture in of_sample] for of_sample in pictures]


def _check(images: object) -> None:
    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        found = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"The image is {found}, not a tensor of the shape [batch, height, width, channels].")
    if not images.numel() or images.shape[-1] not in (1, 3, 4):
        raise ValueError(f"The image has the shape {tuple(images.shape)}: no pictures of 1, 3 or 4 channels.")
