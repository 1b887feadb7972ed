"""Masks made from a change table: which blocks to compute at which evaluation, as published methods choose them.

The table, [blocks, evaluations, gaps], says how far each block's work at evaluation e is from its work g evaluations
later, relative to its size, recorded in uncached runs:  E[b, e, g - 1] = mean|y[e + g] - y[e]| / mean|y[e]|. Blocks are
sub-layers where the table was recorded of these. A maker returns `computed` [evaluations][blocks], 1 or 0; the first
evaluation is always computed. Adding one: a function of a table, names and settings, named in MAKERS and config.MASKS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..signals import TINY

if TYPE_CHECKING:
    from ..config import BlockCacheConfig

Rows = list[list[int]]
LOOKAHEAD = 3  # evaluations in a row that SmoothCache reuses at most
INVARIANT_FROM = 0.1  # InvarDiff leaves the first part of the schedule alone
LONGEST = 4  # interval of ProCache's patterns
THETA = 0.1  # a learned router computes where the sigmoid of its logit is above


def change_table(outputs: Tensor, most_gap: int) -> Tensor:
    """[evaluations, gaps] of one block's outputs [evaluations, tokens, width]; 0 beyond the end."""
    y, evaluations = outputs.float(), len(outputs)
    table = torch.zeros(evaluations, most_gap)
    sizes = y.abs().mean(dim=(1, 2)) + TINY
    for gap in range(1, min(most_gap, evaluations - 1) + 1):
        table[:-gap, gap - 1] = (y[gap:] - y[:-gap]).abs().mean(dim=(1, 2)) / sizes[:-gap]
    return table


def kinds_of(names: Sequence[str]) -> list[list[int]]:
    """Blocks, or sub-layers, by kind, which is what their names have before the number: `double_mlp 3`."""
    kinds = [name.rpartition(" ")[0] for name in names]
    return [[b for b, kind in enumerate(kinds) if kind == each] for each in dict.fromkeys(kinds)]


def smoothcache(table: Tensor, names: Sequence[str], config: BlockCacheConfig) -> Rows:
    """SmoothCache (arXiv 2411.10510): from a computed evaluation, reuse as far as the mean change stays within alpha.

    One schedule for each kind of sub-layer, shared over the depth. alpha: the threshold.
    """
    computed = np.zeros((table.shape[1], len(names)), int)
    for kind in kinds_of(names):
        mean = table[kind].mean(dim=0)
        e = 0
        while e < len(mean):
            computed[e, kind] = 1
            gaps = range(min(LOOKAHEAD, mean.shape[1], len(mean) - 1 - e), 0, -1)
            e += 1 + next((gap for gap in gaps if mean[e, gap - 1] <= config.threshold), 0)
    return computed.tolist()


def invardiff(table: Tensor, names: Sequence[str], config: BlockCacheConfig) -> Rows:
    """InvarDiff (arXiv 2512.05134): what changes least is reused, whole evaluations first, then single sub-layers.

    Least: below the quantile of all changes of its kind that the threshold names. The first tenth of the schedule and
    its last evaluation are computed.
    """
    quantile, steps = min(config.threshold, 1.0), table.shape[1]
    since = table[:, :-1, 0]  # change from the evaluation before, for evaluations from the second on
    first = max(1, int(np.ceil(INVARIANT_FROM * steps)))
    open_part = since[:, first - 1 : steps - 2]
    computed = np.ones((steps, len(names)), int)
    if open_part.numel() == 0:
        return computed.tolist()
    whole = open_part.mean(dim=0)
    reused = (whole <= whole.quantile(quantile)).expand(len(names), -1).clone()
    for kind in kinds_of(names):
        reused[kind] |= open_part[kind] <= open_part[kind].flatten().quantile(quantile)
    computed[first : steps - 1] = 1 - reused.T.numpy().astype(int)
    return computed.tolist()


def block_caching(table: Tensor, names: Sequence[str], config: BlockCacheConfig) -> Rows:
    """Block Caching (arXiv 2312.03209): each block is computed again once its changes add up to more than delta."""
    computed = np.ones((table.shape[1], len(names)), int)
    for block, changes in enumerate(table[:, :, 0].tolist()):
        travelled = 0.0
        for e in range(1, len(changes)):
            travelled += changes[e - 1]
            computed[e, block] = travelled > config.threshold
            travelled *= not computed[e, block]
    return computed.tolist()


def learned_router(table: Tensor, threshold: float, theta: float = THETA) -> Tensor:
    """Learning-to-Cache (arXiv 2406.01733) without gradients: logits beta [evaluations, blocks].

    The paper minimises |error|^2 + lambda * sum(sigmoid(beta)). With errors that add up, a gate that is open with
    probability E^2 / (E^2 + lambda) follows the trade-off of each sub-layer at each step; lambda is such that
    sigmoid(beta) is above theta exactly where the change E is above the threshold. Every other evaluation is cached
    from the one before; those between are computed, and have the logit infinity.
    """
    penalty = threshold**2 * (1 - theta) / theta
    beta = torch.full(table.shape[1::-1], torch.inf, dtype=torch.float32)
    changes = table[:, : table.shape[1] - 1, 0].T.double()
    beta[1::2] = (changes[::2].square() / penalty + TINY).log().float()
    return beta


def gates(logits: Tensor, theta: float = THETA) -> Rows:
    """The mask of a router's logits [evaluations, blocks]: computed where the sigmoid is above theta."""
    return (logits.double().sigmoid() > theta).int().tolist()


def learning_to_cache(table: Tensor, names: Sequence[str], config: BlockCacheConfig) -> Rows:
    """Learning-to-Cache: the mask of its router, learned from the table."""
    return gates(learned_router(table, config.threshold))


def patterns(evaluations: int, budget: int, longest: int = LONGEST) -> Iterator[list[int]]:
    """All ways to compute `budget` evaluations with intervals of at most `longest` that never grow along the run."""

    def ways(left: int, parts: int, at_most: int) -> Iterator[list[int]]:
        if parts == 0:
            if left == 0:
                yield []
            return
        for interval in range(min(at_most, left - parts + 1), 0, -1):
            if interval * parts < left:
                return
            yield from ([interval, *rest] for rest in ways(left - interval, parts - 1, interval))

    yield from ways(evaluations, budget, longest)


def procache(table: Tensor, names: Sequence[str], config: BlockCacheConfig) -> Rows:
    """ProCache (arXiv 2512.17298): of all patterns of one budget whose intervals never grow, the one that errs least.

    The budget is one evaluation in `interval`. The error is the recorded change of what is reused, added up.
    """
    steps, mean = table.shape[1], table.mean(dim=0)
    longest = min(LONGEST, mean.shape[1] + 1)
    budget = min(steps, max(round(steps / config.interval), -(-steps // longest)))

    def error(pattern: list[int]) -> float:
        anchors = np.cumsum([0, *pattern[:-1]])
        pairs = zip(anchors.tolist(), pattern, strict=True)
        return sum(float(mean[anchor, : interval - 1].sum()) for anchor, interval in pairs)

    best = min(patterns(steps, budget, longest), key=error)
    row = [int(first) for interval in best for first in (True, *[False] * (interval - 1))]
    return [[value] * len(names) for value in row]


def eb_cache(table: Tensor, names: Sequence[str], config: BlockCacheConfig) -> Rows:
    """EB-Cache (arXiv 2503.07120): of each evaluation everything is computed, or all but attention, or nothing.

    Nothing while the mean change of both kinds since the last full evaluation is within the threshold, all but
    attention while attention's is. Where names do not tell attention apart, it is all or nothing.
    """
    steps = table.shape[1]
    attention = ["attention" in name for name in names]
    of_attention, of_others = (table[[a == kind for a in attention]].mean(dim=0) for kind in (True, False))
    computed, full = np.ones((steps, len(names)), int), 0
    for e in range(1, steps):
        gap = e - full
        within = [part.numel() == 0 or (gap <= table.shape[2] and float(part[full, gap - 1]) <= config.threshold)
                  for part in (_known(of_attention), _known(of_others))]  # fmt: skip
        if within[0]:
            computed[e] = [int(not (a or within[1])) for a in attention]
        else:
            full = e
    return computed.tolist()


def _known(part: Tensor) -> Tensor:
    """Nothing where there was no row to take the mean of."""
    return part[:0] if part.isnan().all() else part


Maker = Callable[[Tensor, Sequence[str], "BlockCacheConfig"], Rows]
MAKERS: dict[str, Maker] = {
    "learning_to_cache": learning_to_cache,
    "smoothcache": smoothcache,
    "invardiff": invardiff,
    "block_caching": block_caching,
    "procache": procache,
    "eb_cache": eb_cache,
}
