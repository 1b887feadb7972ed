"""Latents as the tokens that a model makes of them, for what is predicted of the whole model."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor

Patch = tuple[int, int, int]  # frames, rows and columns of a latent that are one token
APART, TOGETHER = "b c (t i) (h j) (w k)", "b (t h w) (c i j k)"


def patch_of(model: Any, shape: tuple[int, ...]) -> Patch:
    """Of latents of this shape, as the model says; (1, 1, 1) where it does not, or where it would have to pad.

    Several latents in one row of numbers, as of video and sound, are one token: nothing there tells more apart.
    """
    if len(shape) == 3 and shape[1] == 1:
        return 1, 1, shape[2]
    said = getattr(model, "patch_size", 1)
    sizes = (said, said) if isinstance(said, int) else tuple(said) if isinstance(said, list | tuple) else ()
    patch = (1, 1, 1)[len(sizes) :] + sizes
    whole = len(patch) == 3 and all(isinstance(size, int) and size > 0 for size in patch)
    return patch if whole and not any(n % size for n, size in zip(places(shape), patch, strict=True)) else (1, 1, 1)


def places(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Frames, rows and columns of latents [samples, channels, ...]; what has one axis only, such as sound, is a row."""
    return (1, 1, 1, *shape[2:])[-3:]


def grid_of(shape: tuple[int, ...], patch: Patch) -> tuple[int, int, int]:
    """Tokens along frames, rows and columns."""
    t, h, w = (n // size for n, size in zip(places(shape), patch, strict=True))
    return t, h, w


def as_tokens(x: Tensor, patch: Patch) -> Tensor:
    """Latents [samples, channels, ...] as [samples, tokens, width], a copy or a view."""
    i, j, k = patch
    return rearrange(x.reshape(*x.shape[:2], *places(x.shape)), f"{APART} -> {TOGETHER}", i=i, j=j, k=k)


def as_latents(tokens: Tensor, shape: tuple[int, ...], patch: Patch) -> Tensor:
    """Tokens as latents of this shape again."""
    t, h, w = grid_of(shape, patch)
    i, j, k = patch
    return rearrange(tokens, f"{TOGETHER} -> {APART}", t=t, h=h, w=w, i=i, j=j, k=k).reshape(shape)
