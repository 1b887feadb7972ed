"""The whole model predicted at once: the default, and the level that touches no block.

What is kept of a computed evaluation is the velocity, v = x' - picture over t, with x' = x / (signal + noise) and t the
fraction of noise (path.py): it changes more slowly than the denoised picture, and is the model's own output where that
is noise or velocity. A prediction carries it forward and gives the denoised picture back, x' - t v. Where the sampler
adds noise at every step, that is a part of the velocity, so that the picture itself is kept and carried.

All is done in float32, whatever the sampler works in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .calls import Attending, BlockCall, Streams
from .engine import Run
from .tokens import Span


class Place(NamedTuple):
    """Where the latents of a call are on the noise path. whole: signal + noise, and fraction: noise over that; both
    [rows, 1, 1]."""

    whole: Tensor
    fraction: Tensor


class WholeModel:
    """Of one run. The model is to it one block with the names of all of them."""

    def __init__(self, run: Run):
        self.run = run
        self._dtype: torch.dtype | None = None  # of what the model returns

    def denoised(
        self, tokens: Tensor, place: Place, compute: Callable[[], Tensor], parts: Sequence[int] = ()
    ) -> Tensor:
        """The denoised picture [rows, tokens, width] at latents of that shape, computed or predicted.

        compute: runs the model. parts: widths of what tokens are made of (`BlockCall.parts`).
        """
        seen = tokens.float() / place.whole
        # A sampler's noise would be a part of what is carried, were it carried on top of the latents.
        entry = seen if self.run.velocity else torch.zeros_like(seen)
        computed: list[Tensor] = []

        def block(streams: Streams, attending: Attending | None) -> Streams:
            computed.append(compute())
            self._dtype = computed[0].dtype
            picture = computed[0].float()
            return {"x": entry + (seen - picture) / place.fraction if self.run.velocity else picture}

        everything = Span(0, tokens.shape[1], tokens.shape[1])
        more = len(self.run.report.blocks) - 1
        call = BlockCall(
            0, {"x": entry}, ("x", everything), everything, block, seen=seen, more=more, parts=tuple(parts)
        )
        moved = self.run.run_block(call)["x"]
        if computed:
            return computed[0]
        picture = seen - place.fraction * (moved - seen) if self.run.velocity else moved
        return picture.to(self._dtype or tokens.dtype)
