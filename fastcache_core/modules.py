"""Putting a `Run` into any model whose blocks are modules in a list, such as the transformers of diffusers.

with cached_blocks(run, dit.blocks):
    for sigma, following in zip(sigmas, sigmas[1:]):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        x = x + (following - sigma) * dit(x, sigma)
        run.end_evaluation()
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from .calls import Attending, BlockCall, Streams
from .engine import Run
from .tokens import Span

NO_TOKENS = "these blocks do not say where their keys and values are"


@contextmanager
def cached_blocks(
    run: Run, blocks: Sequence[nn.Module], streams: Sequence[str] = ("hidden_states",), returns: Sequence[str] = ()
) -> Iterator[None]:
    """Let `run` decide about these blocks, all of the model's in order, until the context ends.

    streams: names of the arguments that are hidden states, [rows, tokens, width], image tokens first. returns: the same
    names in the order in which a block returns them, where it is another one.
    """

    def cached(index: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        real = Forward(blocks[index], forward, returns or streams)
        return lambda *args, **kwargs: real.returned(_run_block(run, index, real, streams, args, kwargs))

    with replaced_forwards(blocks, cached):
        yield


@contextmanager
def replaced_forwards(
    blocks: Sequence[nn.Module], replacement: Callable[[int, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Give every block the forward `replacement(index, its own)`, until the context ends."""
    before = [vars(block).get("forward") for block in blocks]
    try:
        for index, block in enumerate(blocks):
            block.forward = replacement(index, block.forward)
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            if own is None:
                vars(block).pop("forward", None)
            else:
                block.forward = own


class Forward:
    """A block's `forward` with its arguments and results by name. returns: the names of what it returns, in order;
    tupled: whether in a tuple even if that is one thing only, which also shows when it runs."""

    def __init__(self, block: nn.Module, forward: Callable[..., Any], returns: Sequence[str], tupled: bool = False):
        self.forward, self.returns, self.tupled = forward, returns, tupled
        # The class knows the names even where somebody has put a function of its own on the block.
        self.names = positional_names(type(getattr(block, "_orig_mod", block)))  # _orig_mod: of a compiled one

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """By name; positional ones without a name are called *0, *1, ..."""
        names = self.names + [f"*{i}" for i in range(len(args) - len(self.names))]
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def run(self, by_position: int, arguments: Mapping[str, Any]) -> Any:
        """Call it with the first of the arguments by position, the others by name, as it was called."""
        values, named = list(arguments.values()), list(arguments.items())
        return self.forward(*values[:by_position], **dict(named[by_position:]))

    def streams(self, out: Any) -> dict[str, Any]:
        """What it returned, by name."""
        self.tupled = isinstance(out, tuple | list)
        return dict(zip(self.returns, out if self.tupled else (out,), strict=True))

    def returned(self, streams: Mapping[str, Any]) -> Any:
        """The opposite; a stream that is missing is None."""
        whole = [streams.get(name) for name in self.returns]
        return tuple(whole) if len(whole) > 1 or self.tupled else whole[0]


@functools.cache
def positional_names(block: type[nn.Module]) -> list[str]:
    """Names of what its forward takes by position."""
    parameters = list(inspect.signature(block.forward).parameters.values())[1:]
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _run_block(
    run: Run, index: int, real: Forward, streams: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Streams:
    given = real.arguments(args, kwargs)

    def compute(changed: Streams, attending: Attending | None) -> Streams:
        return real.streams(real.run(len(args), {**given, **changed}))

    hidden = {name: given[name] for name in streams}
    tokens = hidden[streams[0]].shape[1]
    image, sequence = Span(0, tokens, tokens), Span(0, tokens, sum(h.shape[1] for h in hidden.values()))
    return run.run_block(BlockCall(index, hidden, (streams[0], image), sequence, compute, lambda: NO_TOKENS))
