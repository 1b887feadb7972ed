"""What stands for settings that were left open: by rule, until somebody measures them on a family's real weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

MEGAPIXEL = 4096  # tokens of an image of a million pixels, in most models
DEEP = 40  # blocks


@dataclass(frozen=True)
class Defaults:
    """block_threshold: where to start. warmup_evaluations: computed first. few_steps: schedules with fewer of them are
    left alone. measured: on which real weights, None for numbers by rule."""

    block_threshold: float
    warmup_evaluations: int
    few_steps: int
    measured: str | None = None


def by_rule(blocks: int, tokens: int) -> Defaults:
    """Defaults for a model of so many blocks that works on so many tokens.

    Three evaluations give extrapolation its two anchors and one measured error; what has many tokens, videos above all,
    settles later, so that every factor of eight above a megapixel adds one. Five more steps are the least in which
    skipping pays. The threshold is an error relative to the work of all blocks; the demo model's 0.1 is kept up to 40
    blocks, and becomes smaller with the root of the depth beyond, because nothing so deep has been measured.
    """
    later = math.ceil(math.log(tokens / MEGAPIXEL, 8)) if tokens > MEGAPIXEL else 0
    threshold = round(0.1 * min(1.0, (DEEP / max(blocks, 1)) ** 0.5), 3)
    return Defaults(threshold, 3 + later, 8 + later)
