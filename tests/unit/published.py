"""What tests of published methods share: toy blocks, an uncached recording of them, a profile made of it, and a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from fastcache_core.calibration.curves import fit_curves
from fastcache_core.calibration.schedules import change_table
from fastcache_core.config import FastCacheConfig
from fastcache_core.engine import Run
from fastcache_core.linear import LowRank, PerChannel
from fastcache_core.presets import settings
from fastcache_core.profile import Profile

from . import toys

WIDTH, DEPTH, EVALUATIONS = 8, 4, 16
SIGMAS = [(1 - e / EVALUATIONS) ** 1.5 for e in range(EVALUATIONS)] + [0.0]  # uneven
EVEN = [1 - e / EVALUATIONS for e in range(EVALUATIONS + 1)]
LAST = EVALUATIONS - 1
NAMES = [f"{kind} {i}" for kind in ("attention", "mlp") for i in range(DEPTH // 2)]


def work(number: int) -> Callable[[Tensor, float], Tensor]:
    """f of block `number`: what it adds to a state, x + f(x, sigma)."""
    weights = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(number)) / WIDTH**0.5
    return lambda x, sigma: torch.tanh(x @ weights + 3 * sigma * weights[number]) * (1 + number * sigma**2)


def as_block(f: Callable[[Tensor, float], Tensor]) -> toys.Block:
    return lambda streams, sigma, attending: {name: h + f(h, sigma) for name, h in streams.items()}


F = [work(i) for i in range(DEPTH)]
BLOCKS = [as_block(f) for f in F]


def stack(x: Tensor, sigma: float) -> Tensor:
    """What all blocks together add."""
    h = x
    for f in F:
        h = h + f(h, sigma)
    return h - x


def states(speed: float = 0.1) -> list[Tensor]:
    """What enters at each evaluation: it goes fast, slowly, and fast again."""
    path = toys.trajectory(EVALUATIONS, tokens=12, width=WIDTH, speed=speed)
    bent = [e + 2.5 * torch.sin(torch.tensor(e * 0.7)).item() for e in range(EVALUATIONS)]
    return [path[0] + (path[1] - path[0]) * place for place in bent]


def recorded(xs: list[Tensor], sigmas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Of an uncached run: states of every block [B, E, n, D], what each adds likewise, and what all add [E, n, D]."""
    entries, added = [], []
    for x, sigma in zip(xs, sigmas, strict=False):
        h, of_states, of_work = x, [], []
        for f in F:
            r = f(h, sigma)
            of_states.append(h[0])
            of_work.append(r[0])
            h = h + r
        entries.append(torch.stack(of_states))
        added.append(torch.stack(of_work))
    residuals = torch.stack(added, dim=1)
    return torch.stack(entries, dim=1), residuals, residuals.sum(dim=0)


def profile(xs: list[Tensor], sigmas: list[float], names: list[str] = NAMES, rank: int = 0) -> Profile:
    """A change table, curves, and a linear map for each block, of low rank or per channel."""
    entries, residuals, whole = recorded(xs, sigmas)
    table = torch.stack([change_table(r, 4) for r in residuals])
    generator = torch.Generator().manual_seed(9)
    if rank:
        shapes = (WIDTH, rank), (rank, WIDTH)
        maps = [LowRank(*(0.1 * torch.randn(*shape, generator=generator) for shape in shapes)) for _ in F]
    else:
        maps = [PerChannel(0.2 * torch.randn(WIDTH, generator=generator)) for _ in F]
    linear = {(i, i, stream): a for i, a in enumerate(maps) for stream in ("img", "txt", "image")}
    curves = fit_curves(entries[0], whole, sigmas[:-1])
    return Profile("toy", WIDTH, list(names), linear=linear, curves=curves, changes=table)


def run(
    name: str,
    xs: list[Tensor],
    sigmas: list[float] = SIGMAS,
    known: Profile | None = None,
    strength: float = 0.0,
    skips: int = 99,
    blocks: list[toys.Block] = BLOCKS,
    **tokens,
) -> tuple[list[Tensor], list[list[float]]]:
    """What a preset returns at each evaluation, and which part of each block it computed."""
    block_cache, selector = settings(name, strength)
    block_cache = dataclasses.replace(block_cache, min_steps=1, max_consecutive_skips=skips)
    config = FastCacheConfig(block_cache, dataclasses.replace(selector, **tokens))
    names = NAMES if known is None else known.blocks
    run = Run(config, names, [(0, len(blocks) - 1)], sigmas, profile=known)
    outputs = [toys.evaluate(run, blocks, sigma, x.clone())["cond"] for sigma, x in zip(sigmas, xs, strict=False)]
    run.finish()
    return outputs, run.report.to_json()["computed"]


def assert_same(found: tuple[list[Tensor], list[list[float]]], wanted: tuple[list[Tensor], list[list[int]]]) -> None:
    """Both computed the same and returned the same; the published loop predicted something, and computed something."""
    assert found[1] == [[float(c) for c in row] for row in wanted[1]]
    for ours, theirs in zip(found[0], wanted[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    computed = [c for row in wanted[1][2:-1] for c in row]
    assert 0 < sum(computed) < len(computed), "this test shows nothing"


def neighbours(xs: list[Tensor]) -> list[float]:
    """L1rel of every evaluation's state and the one before; 0 for the first."""
    return [0.0, *(l1rel(b, a) for a, b in pairwise(xs))]


def l1rel(now: Tensor, before: Tensor) -> float:
    return ((now - before).abs().mean() / before.abs().mean()).item()


def l2rel(now: Tensor, before: Tensor) -> float:
    return ((now - before).norm() / before.norm()).item()
