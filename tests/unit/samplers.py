"""Small samplers of every kind, as functions of a model(x, sigma) that gives a denoised image, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Model = Callable[[Tensor, float], Tensor]


def euler(model: Model, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    for sigma, following in pairwise(sigmas):
        x = x + (following - sigma) * (x - model(x, sigma)) / sigma
    return x


def heun(model: Model, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    for sigma, following in pairwise(sigmas):
        d = (x - model(x, sigma)) / sigma
        step = following - sigma
        if following > 0:
            there = x + step * d
            d = (d + (there - model(there, following)) / following) / 2
        x = x + step * d
    return x


def midpoint(model: Model, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    for sigma, following in pairwise(sigmas):
        middle, d = (sigma + following) / 2, (x - model(x, sigma)) / sigma
        there = x + (middle - sigma) * d
        x = x + (following - sigma) * (there - model(there, middle)) / middle
    return x


def adams(model: Model, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Looks back to d of the three steps before, as ipndm does."""
    before: list[Tensor] = []
    factors = ((1.0,), (1.5, -0.5), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
    for sigma, following in pairwise(sigmas):
        before = [(x - model(x, sigma)) / sigma, *before][:4]
        d = sum(factor * d for factor, d in zip(factors[len(before) - 1], before, strict=True))
        x = x + (following - sigma) * d
    return x


def multistep(model: Model, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Looks back to the denoised image of the step before, as dpmpp_2m does."""
    before = None
    for sigma, following in pairwise(sigmas):
        denoised = model(x, sigma)
        ahead = denoised if before is None or following == 0 else 1.4 * denoised - 0.4 * before
        x, before = following / sigma * x + (1 - following / sigma) * ahead, denoised
    return x


def noisy(model: Model, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Adds noise at every step, the same every time."""
    generator = torch.Generator().manual_seed(7)
    for sigma, following in pairwise(sigmas):
        down = 0.8 * following
        x = x + (down - sigma) * (x - model(x, sigma)) / sigma
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype)
        x = x + (following**2 - down**2) ** 0.5 * noise
    return x


def adaptive(model: Model, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Takes longer steps where it sees less."""
    sigma = sigmas[0]
    while sigma > 0.05:
        denoised = model(x, sigma)
        following = sigma * (0.5 if float(denoised.abs().max()) > 0.5 else 0.8)
        x, sigma = x + (following - sigma) * (x - denoised) / sigma, following
    return x


def rooted(model: Model, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Its steps are fixed, but not linear in what it is given."""
    for sigma, following in pairwise(sigmas):
        denoised = model(x, sigma)
        x = x + (following - sigma) * (x - denoised / (1 + denoised.abs())) / sigma
    return x


LINEAR = (euler, heun, midpoint, adams, multistep)
EXACT = (*LINEAR, noisy)
