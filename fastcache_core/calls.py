"""What the engine is told about one call of one block, in words that no host and no model family appears in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .tokens import Span

Streams = dict[str, Tensor]
SEQUENCE, STREAM, OTHERS = "sequence", "stream", "others"  # what an attention call sees


class OurError(RuntimeError):
    """Something of ours failed inside of a block's call, and not the block."""


@dataclass(frozen=True)
class Attending:
    """How a block's attention treats keys and values while the token selector is on.

    A block's attention calls are numbered from 0 and have kinds (`BlockCall.attends`); those of the kind `others` are
    left alone. Without rows: hand over keys and values of all tokens, and a mask of keys only, if there is one, through
    `keep(number, keys, values, mask)`. With rows, [samples, k] for each kind: the block sees those tokens only, and
    attends to what `serve(number, keys, values)` returns, which covers every token: keys, values, and the mask kept;
    `place` tells where a place of the image's stream is in its rows (`Span.place`).
    """

    rows: dict[str, Tensor] | None
    keep: Callable[[int, Tensor, Tensor, Tensor | None], None] | None = None
    serve: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor, Tensor | None]] | None = None
    place: Callable[[int], int] | None = None


@dataclass(frozen=True)
class BlockCall:
    """One call of one block in the engine's words, as an adapter makes it.

    streams: hidden states by name, [rows, tokens, width], rows = branches * samples. image: the stream that holds the
    image tokens and where they lie; sequence: where they lie in the attention's sequence. compute(streams, attending)
    runs the real block; a model's last block may return the image's stream only. why_no_tokens: tells why tokens cannot
    be selected here, or None; asked only where they are to be. attends: what the block's attention calls see in turn:
    the whole `sequence`, the image's `stream`, or `others`, as calls after these do. seen: of the image tokens, [rows,
    tokens, width], what decisions look at, None for the streams. work: floating-point operations per token, times width
    squared and times width and the sequence's length; a whole block's are projections, an MLP of ratio 4 and attention.
    more: how many blocks after this one the same call runs. parts: widths of what a token is made of where that is
    several things, such as a video and its sound; each counts by itself.
    """

    index: int
    streams: Streams
    image: tuple[str, Span]
    sequence: Span
    compute: Callable[[Streams, Attending | None], Streams]
    why_no_tokens: Callable[[], str | None] = lambda: None
    attends: tuple[str, ...] = (SEQUENCE,)
    seen: Tensor | None = None
    work: tuple[int, int] = (24, 4)
    more: int = 0
    parts: tuple[int, ...] = ()

    @functools.cached_property
    def no_tokens(self) -> str | None:
        """The reason, once it was asked for."""
        return self.why_no_tokens()

    @property
    def blocks(self) -> range:
        """The blocks that this call runs."""
        return range(self.index, self.index + 1 + self.more)

    @property
    def own_attention(self) -> list[int]:
        """Numbers of the attention calls whose keys and values are those of this block's tokens."""
        return [number for number, kind in enumerate(self.attends) if kind != OTHERS]

    def length(self, kind: str) -> int:
        """Tokens that an attention call of this kind sees."""
        return self.image[1].length if kind == STREAM else self.sequence.length

    @property
    def tokens(self) -> Tensor:
        """The image tokens: [rows, tokens, width]."""
        name, span = self.image
        return self.streams[name][:, span.start : span.stop]


class Watch:
    """Tells on a few numbers whether the image tokens that enter a block are those that left the block before it."""

    def __init__(self):
        self._index, self._left = -1, None

    @staticmethod
    def _numbers(call: BlockCall, streams: Streams) -> Tensor:
        name, span = call.image
        return streams[name][:, span.start : span.stop : max(1, span.tokens // 16), :2]

    def leaving(self, call: BlockCall, streams: Streams) -> None:
        self._index, self._left = call.blocks[-1], self._numbers(call, streams).clone()

    def entering(self, call: BlockCall) -> Tensor | None:
        """A boolean on the device: whether something was added in between. None when there is nothing to compare."""
        left, self._left = self._left, None
        known = left is not None and call.index == self._index + 1
        if not known:
            return None
        now = self._numbers(call, call.streams)
        return ((left != now) & ~(left.isnan() & now.isnan())).any()
