"""Which tokens are computed, and the index arithmetic for computing only those.

A `Span` says where the image tokens lie in a sequence; everything outside it (text and register tokens) is always
computed, except tokens of reference pictures, which no head reads: they may rest, all together.

Active tokens are [samples, k] indices of image tokens with one k for the batch: a sample with fewer
repeats its first one, which costs a little work and changes nothing, since equal rows give equal results.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .config import TokenSelectorConfig

LLOYD_STEPS = 4  # of k-means


class Span(NamedTuple):
    """Image tokens are start..stop of a sequence of length tokens; behind them so many are of reference pictures."""

    start: int
    stop: int
    length: int
    references: int = 0

    @property
    def tokens(self) -> int:
        return self.stop - self.start

    def rows(self, active: Tensor, resting: bool = False) -> Tensor:
        """Rows to compute, [samples, k + others]: all before the span, the active ones, all after it, of which
        references may rest."""
        before = torch.arange(self.start, device=active.device).expand(len(active), -1)
        behind = self.stop + (self.references if resting else 0)
        after = torch.arange(behind, self.length, device=active.device).expand(len(active), -1)
        return torch.cat([before, active + self.start, after], dim=1)

    def place(self, place: int, active: int, resting: bool = False) -> int:
        """Where in these rows, of which so many are active tokens, the tokens from a place of the sequence on start.

        ValueError within the image, where it is not the same for all samples.
        """
        if place <= self.start or self.stop <= place:
            behind = max(0, place - self.stop)
            rested = min(behind, self.references) if resting else 0
            return place if place <= self.start else self.start + active + behind - rested
        raise ValueError(f"place {place} is within the image's tokens, which are {self.start} to {self.stop}")


def gather_tokens(h: Tensor, rows: Tensor) -> Tensor:
    """h [samples, tokens, width], rows [samples, k] -> [samples, k, width]."""
    return h.gather(1, rows[..., None].expand(-1, -1, h.shape[-1]))


def scatter_tokens(h: Tensor, rows: Tensor, values: Tensor) -> None:
    """Write values [samples, k, width] into h's rows, in place; h must be ours."""
    h.scatter_(1, rows[..., None].expand(-1, -1, h.shape[-1]), values.to(h.dtype))


def choose_active(saliency: Tensor, age: Tensor, config: TokenSelectorConfig, h: Tensor | None = None) -> Tensor:
    """Boolean [samples, tokens]: which are computed, as config.choose says; at least one.

    saliency, age: [samples, tokens]; age counts evaluations since the token was computed. h: states [samples, tokens,
    width], which clusters are made of.
    """
    if config.choose == "clusters":
        return one_of_each(clusters(h, config.clusters), saliency, age, config)
    if config.choose == "round_robin":
        return oldest(age, config)
    return salient(saliency, age, config)


def salient(saliency: Tensor, age: Tensor, config: TokenSelectorConfig) -> Tensor:
    """Above the threshold or due for refresh, within min_active and max_active."""
    tokens = saliency.shape[1]
    due = age >= config.refresh_interval
    wanted = (saliency > config.threshold) | due
    order = saliency.masked_fill(due, float("inf")).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    low, high = max(1, round(config.min_active * tokens)), max(1, round(config.max_active * tokens))
    return (wanted & (rank < high)) | (rank < low)


def oldest(age: Tensor, config: TokenSelectorConfig) -> Tensor:
    """Tokens take turns (TokenCache's round-robin, arXiv 2409.18523): one in refresh_interval, those that waited most.

    Of tokens that waited equally long, every refresh_interval-th is taken, so that they lie all over the picture.
    """
    turns, tokens = config.refresh_interval, age.shape[1]
    turn = torch.arange(tokens, device=age.device) % turns
    order = (age.long() * turns - turn).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1) < -(-tokens // turns)


def clusters(h: Tensor, count: int) -> Tensor:
    """Which cluster each token's state belongs to, [samples, tokens]: k-means that starts at evenly spread tokens."""
    h = h.float()
    start = torch.linspace(0, h.shape[1] - 1, min(count, h.shape[1]), device=h.device).round().long()
    centres = h[:, start]
    for _ in range(LLOYD_STEPS):
        belongs = torch.nn.functional.one_hot(torch.cdist(h, centres).argmin(dim=2), centres.shape[1]).to(h.dtype)
        members = belongs.sum(dim=1)[..., None]
        centres = torch.where(members > 0, belongs.mT @ h / members.clamp(min=1), centres)
    return torch.cdist(h, centres).argmin(dim=2)


def one_of_each(belongs: Tensor, saliency: Tensor, age: Tensor, config: TokenSelectorConfig) -> Tensor:
    """ClusCa's choice (arXiv 2509.10312): one token of each cluster, all once one is due for refresh.

    The paper takes any; here it is the one that waited most, and of several the one that changed most.
    """
    urgency = age + saliency / (1 + saliency)
    count = min(config.clusters, belongs.shape[1])  # which one_hot would wait for the device to find
    groups = torch.nn.functional.one_hot(belongs, count).bool()
    urgent = urgency[..., None].masked_fill(~groups, -1.0).argmax(dim=1)  # [samples, clusters]
    chosen = urgent.gather(1, belongs) == torch.arange(belongs.shape[1], device=belongs.device)
    return chosen | (age >= config.refresh_interval).any(dim=1, keepdim=True)


def once(mask: Tensor, active: Tensor) -> Tensor:
    """Which of active [rows, k] count, [rows, k, 1]: not those that `active_indices` repeats; rows: branches of the
    mask's samples [samples, tokens]."""
    counts = mask.sum(dim=1).repeat(len(active) // len(mask))
    return (torch.arange(active.shape[1], device=active.device) < counts[:, None])[..., None]


def active_indices(active: Tensor, k: int) -> Tensor:
    """Boolean [samples, tokens] -> indices [samples, k]; short samples repeat their first active token."""
    order = torch.argsort(active.to(torch.int8), dim=1, descending=True, stable=True)[:, :k]
    valid = active.gather(1, order)
    return torch.where(valid, order, order[:, :1])
