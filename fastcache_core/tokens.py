"""Which tokens are computed, and the index arithmetic for computing only those.

A `Span` says where the image tokens lie in a sequence; everything outside it (text, register and reference tokens) is
always computed. Active tokens are [samples, k] indices of image tokens with one k for the batch: a sample with fewer
repeats its first one, which costs a little work and changes nothing, since equal rows give equal results.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .config import TokenSelectorConfig


class Span(NamedTuple):
    """Image tokens are start..stop of a sequence of length tokens."""

    start: int
    stop: int
    length: int

    @property
    def tokens(self) -> int:
        return self.stop - self.start

    def rows(self, active: Tensor) -> Tensor:
        """Rows to compute, [samples, k + others]: all before the span, the active ones, all after it."""
        before = torch.arange(self.start, device=active.device).expand(len(active), -1)
        after = torch.arange(self.stop, self.length, device=active.device).expand(len(active), -1)
        return torch.cat([before, active + self.start, after], dim=1)


def gather_tokens(h: Tensor, rows: Tensor) -> Tensor:
    """h [samples, tokens, width], rows [samples, k] -> [samples, k, width]."""
    return h.gather(1, rows[..., None].expand(-1, -1, h.shape[-1]))


def scatter_tokens(h: Tensor, rows: Tensor, values: Tensor) -> None:
    """Write values [samples, k, width] into h's rows, in place; h must be ours."""
    h.scatter_(1, rows[..., None].expand(-1, -1, h.shape[-1]), values.to(h.dtype))


def choose_active(saliency: Tensor, age: Tensor, config: TokenSelectorConfig) -> Tensor:
    """Boolean [samples, tokens]: above the threshold or due for refresh, within min_active and max_active.

    saliency, age: [samples, tokens]; age counts evaluations since the token was computed. At least one token is active.
    """
    tokens = saliency.shape[1]
    due = age >= config.refresh_interval
    wanted = (saliency > config.threshold) | due
    order = saliency.masked_fill(due, float("inf")).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    low, high = max(1, round(config.min_active * tokens)), max(1, round(config.max_active * tokens))
    return (wanted & (rank < high)) | (rank < low)


def active_indices(active: Tensor, k: int) -> Tensor:
    """Boolean [samples, tokens] -> indices [samples, k]; short samples repeat their first active token."""
    order = torch.argsort(active.to(torch.int8), dim=1, descending=True, stable=True)[:, :k]
    valid = active.gather(1, order)
    return torch.where(valid, order, order[:, :1])
