"""How an image's tokens lie, as (frames, rows, columns), from the model and the shape of its input."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

Grid = tuple[int, int, int]


def padded_grid(shape: tuple[int, ...], patch: Sequence[int]) -> Grid:
    """Of an input whose last axes are padded up to whole patches, the patch size of each."""
    axes = [-(-length // p) for length, p in zip(shape[-len(patch) :], patch, strict=True)]
    return tuple([1] * (3 - len(axes)) + axes)


def padded_square(model: nn.Module, shape: tuple[int, ...]) -> Grid:
    """Where patches are squares, and the input is padded up to whole ones."""
    return padded_grid(shape, [model.patch_size] * 2)


def padded_per_axis(model: nn.Module, shape: tuple[int, ...]) -> Grid:
    """Where patches have a size for each axis, and the input is padded up to whole ones."""
    return padded_grid(shape, model.patch_size)


def whole_square(model: nn.Module, shape: tuple[int, ...]) -> Grid:
    """Where patches are squares, and the input is made of whole ones."""
    return 1, shape[-2] // model.patch_size, shape[-1] // model.patch_size


def unpatched(model: nn.Module, shape: tuple[int, ...]) -> Grid:
    """Where every place of the input is a token."""
    return 1, shape[-2], shape[-1]


def one_row(model: nn.Module, shape: tuple[int, ...]) -> Grid:
    """Where tokens have an order only."""
    return 1, 1, shape[-1]


def untold(model: nn.Module, shape: tuple[int, ...]) -> Grid:
    """Where the input does not tell the image's tokens from others, so that all of them count as the image's."""
    return 1, 1, 0
