"""Cutting what goes with tokens, positions, modulations and masks, to the tokens that are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Axes = int | tuple[int, ...]  # by their numbers


def token_axis(tensor: Tensor, axes: Axes) -> int:
    """The axis that counts tokens; of several, by which versions of a model differ, the first one longer than 1."""
    among = (axes,) if isinstance(axes, int) else axes
    return next((axis for axis in among if tensor.ndim >= axis + 2 and tensor.shape[axis] > 1), among[0])


def tensors_of(value: Any, axis: int) -> list[Tensor]:
    """The tensors with an axis of tokens and one after it that an argument is made of; it may hold them in parts."""
    found: list[Tensor] = []
    changed(value, axis, lambda tensor: found.append(tensor) or tensor)
    return found


def comes_twice(tensor: Tensor, axes: Axes, samples: int) -> bool:
    """Whether there are two of a modulation, as two entries or for twice the samples; places tell for which tokens."""
    axis = token_axis(tensor, axes)
    entries = tensor.shape[axis] if tensor.ndim >= axis + 2 else 1
    return (entries, len(tensor)) in ((2, 1), (2, samples), (1, 2 * samples))


def gather_per_token(value: Any, axes: Axes, rows: Tensor, tokens: int, by_place: bool = False) -> Any:
    """An argument for the given rows [samples, k] of its tokens, where it differs between tokens; one that comes twice
    stays if its two go by places.

    What has no axis of samples before that of tokens gets one.
    """

    def gather(tensor: Tensor) -> Tensor:
        axis = token_axis(tensor, axes)
        if tensor.shape[axis] == 1 or (by_place and comes_twice(tensor, axes, len(rows))):
            return tensor
        each = -(-tokens // tensor.shape[axis])  # tokens in a row that share an entry
        if axis == 0:
            return tensor[rows // each]
        table = tensor.movedim(axis, 1)
        batch = torch.arange(len(rows), device=rows.device) if len(table) > 1 else torch.zeros_like(rows[:, 0])
        return table[batch[:, None], rows // each].movedim(1, axis)

    return changed(value, axes if isinstance(axes, int) else min(axes), gather)


def moved(places: Any, place: Callable[[int], int]) -> Any:
    """Places among tokens, an index or ranges (start, stop, ...), each put where `place` says."""
    if isinstance(places, int):
        return place(places)
    return [(place(start), None if stop is None else place(stop), *more) for start, stop, *more in places]


def changed(value: Any, axis: int, change: Callable[[Tensor], Tensor]) -> Any:
    """The argument with those tensors changed; sequences and dataclasses in it are made anew."""
    if isinstance(value, Tensor):
        return change(value) if value.ndim >= axis + 2 else value
    if isinstance(value, tuple | list):
        return type(value)(changed(part, axis, change) for part in value)
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **{name: changed(part, axis, change) for name, part in vars(value).items()})
    return value


def as_4d(mask: Tensor) -> Tensor:
    """Any mask that attention takes as [rows or 1, heads or 1, queries or 1, keys].

    Two axes are [queries, keys] where they are equal, else [rows, keys]; three are [rows, 1 or queries, keys].
    """
    if mask.ndim == 2 and mask.shape[0] != mask.shape[1]:
        return mask[:, None, None]
    return mask[:, None] if mask.ndim == 3 else mask.reshape(*[1] * (4 - mask.ndim), *mask.shape)


def gather_mask(mask: Tensor, rows: Tensor, keys: bool) -> Tensor:
    """An attention mask for the given rows [samples, k] as queries, and as keys too if `keys`; four axes."""
    whole = as_4d(mask)
    if whole.shape[2] == 1 and not keys:
        return mask
    whole = whole.expand(len(rows), *whole.shape[1:])
    if whole.shape[2] > 1:
        whole = whole.gather(2, rows[:, None, :, None].expand(-1, whole.shape[1], -1, whole.shape[3]))
    if keys:
        whole = whole.gather(3, rows[:, None, None, :].expand(-1, *whole.shape[1:3], -1))
    return whole
