"""Saying in the engine's words what a host is about to do with a block.

A host hands over a block's arguments as a dict and a function that runs the block on such a dict. Arguments are only
read and replaced by name, so that new ones pass through untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..calls import SEQUENCE, Attending, BlockCall, Streams
from .attention import attend_through
from .family import FLAT, Arguments, BlockList, Family, Layout
from .rows import gather_per_token, tensors_of

OPTIONS = "transformer_options"


def block_call(
    family: Family,
    block_list: BlockList,
    index: int,
    layout: Layout,
    args: Arguments,
    run: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> BlockCall:
    """The call of block `index`; `run(args)` runs it (or an earlier patch) and returns its streams by name."""

    def compute(streams: Streams, attending: Attending | None) -> Streams:
        edited = {**args, **{name: block_list.unflat(h, args[name]) for name, h in streams.items()}}
        if attending is not None:
            edited[OPTIONS] = attend_through(args[OPTIONS], attending, call)
            if attending.rows is not None:
                edited |= cut_to_rows(family, args, attending.rows[SEQUENCE], call.sequence.length)
        out = run(edited)
        return {name: block_list.flat(out[name]) for name in streams if out.get(name) is not None}

    streams = {name: block_list.flat(args[name]) for name in block_list.streams}
    image, *others = (h.shape[1] for h in streams.values())
    stream, sequence = layout.spans(block_list.joint, image, sum(others))
    why = why_no_tokens(family, block_list, args, len(next(iter(streams.values()))), sequence.length)
    name = block_list.streams[0]
    call = BlockCall(index, streams, (name, stream), sequence, compute, why, block_list.attends)
    return call


def why_no_tokens(family: Family, block_list: BlockList, args: Arguments, rows: int, tokens: int) -> str | None:
    """Why a block with these arguments cannot be run on some of its tokens only, or None.

    rows: of the batch; tokens: of the attention's sequence.
    """
    if family.no_tokens:
        return family.no_tokens
    if block_list.axes != FLAT:
        return "blocks of this model take their tokens as a grid"
    if OPTIONS not in args:
        return "blocks of this model are not given ComfyUI's options for their attention"
    named = [name for name in family.ungathered if args.get(name) is not None]
    if named:
        return f"{named[0]} gives tokens modulations of their own"
    in_a_row = not block_list.joint and len(block_list.streams) == 1
    for name, axis in family.per_token.items():
        for tensor in tensors_of(args.get(name), axis):
            entries = tensor.shape[axis]
            known = entries in (1, tokens) or (in_a_row and entries < tokens)
            if not known or (axis and len(tensor) not in (1, rows)):
                return f"{name} has the shape {tuple(tensor.shape)}, which is not known for {tokens} tokens"
    patches = args[OPTIONS].get("patches", {})
    named = [name for name in ("attn1_patch", "attn1_output_patch", "attn2_patch") if patches.get(name)]
    return f"another patch ({named[0]}) works on this model's attention" if named else None


def cut_to_rows(family: Family, args: Arguments, rows: Tensor, tokens: int) -> dict[str, Any]:
    """Arguments that go with tokens, for the chosen rows of the sequence."""
    given = {name: axis for name, axis in family.per_token.items() if args.get(name) is not None}
    return {name: gather_per_token(args[name], axis, rows, tokens) for name, axis in given.items()}
