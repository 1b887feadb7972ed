"""What stands for settings that were left open: by rule, until somebody measures them on a family's real weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

NEARLY_NOISE = 0.95  # fraction of noise from which on down pictures take shape
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

    def warmup_at(self, fractions: Sequence[float]) -> int:
        """The warm-up of a schedule: one evaluation less where the last of it would still see little but noise.

        So it is where sigmas are shifted and steps are many: nothing bends yet, and a step is short. fractions: of
        noise (path.py), at every step.
        """
        last = self.warmup_evaluations - 1
        early = 1 < last < len(fractions) and NEARLY_NOISE <= fractions[last] <= fractions[0]
        return last if early else self.warmup_evaluations


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
