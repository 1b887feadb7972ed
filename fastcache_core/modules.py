"""Putting a `Run` into any model whose blocks are modules in a list, such as the transformers of diffusers.

with cached_blocks(run, dit.blocks):
    for sigma, following in zip(sigmas, sigmas[1:]):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        x = x + (following - sigma) * dit(x, sigma)
        run.end_evaluation()
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
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
    before = [vars(block).get("forward") for block in blocks]
    try:
        for index, block in enumerate(blocks):
            block.forward = cached_forward(run, index, block.forward, streams, returns or streams)
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            if own is None:
                vars(block).pop("forward", None)
            else:
                block.forward = own


def cached_forward(
    run: Run, index: int, forward: Callable[..., Any], streams: Sequence[str], returns: Sequence[str]
) -> Callable[..., Any]:
    """The forward of block `index` as `run` sees fit; arguments and result are those of `forward`."""
    signature = inspect.signature(forward)

    def cached(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)

        def compute(given: Streams, attending: Attending | None) -> Streams:
            bound.arguments.update(given)
            out = forward(*bound.args, **bound.kwargs)
            return dict(zip(returns, out if isinstance(out, tuple) else (out,), strict=True))

        given = {name: bound.arguments[name] for name in streams}
        image = Span(0, given[streams[0]].shape[1], given[streams[0]].shape[1])
        sequence = Span(0, image.stop, sum(h.shape[1] for h in given.values()))
        out = run.run_block(BlockCall(index, given, (streams[0], image), sequence, compute, NO_TOKENS))
        return tuple(out[name] for name in returns) if len(returns) > 1 else out[returns[0]]

    return cached
