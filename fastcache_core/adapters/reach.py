"""Saying in the engine's words what a host is about to do with a block.

A host hands over a block's arguments as a dict and a function that runs the block on such a dict. Arguments are only
read and replaced by name, so that new ones pass through untouched.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from ..calls import SEQUENCE, STREAM, Attending, BlockCall, OurError, Streams
from ..tokens import Span
from .attention import attend_through
from .family import Arguments, BlockList, Family, Layout
from .rows import comes_twice, gather_per_token, moved, tensors_of, token_axis

OPTIONS = "transformer_options"
Cut = Callable[[Arguments], dict[str, Any]]  # of what a forward is given, what is another for the rows computed


def block_call(
    family: Family,
    block_list: BlockList,
    index: int,
    layout: Layout,
    args: Arguments,
    run: Callable[[dict[str, Any], Cut | None], Mapping[str, Any]],
    unrecorded: Callable[[], AbstractContextManager] = nullcontext,
) -> BlockCall:
    """The call of block `index`; `run(args, cut)` runs it (or an earlier patch) and returns its streams by name.

    cut: what is to be done to the arguments of the block's forward, some of which a patch is not given; or None.
    unrecorded: makes a context in which what is allocated outlives the block.
    """

    def compute(streams: Streams, attending: Attending | None) -> Streams:
        chosen, cut = attending is not None and attending.rows is not None, None
        edited = {**args, **{name: block_list.unflat(h, args[name], chosen) for name, h in streams.items()}}
        if attending is not None:
            edited[OPTIONS] = attend_through(args[OPTIONS], attending, known, unrecorded)
            if chosen:
                edited |= cut_to_rows(family, args, attending.rows, known)
                if by_place:
                    cut = functools.partial(cut_or_stop, family, attending.place)
        out = run(edited, cut)
        return {name: block_list.flat(out[name]) for name in streams if out.get(name) is not None}

    streams = {name: block_list.flat(args[name]) for name in block_list.streams}
    image, *others = (h.shape[1] for h in streams.values())
    text = min(sum(others), args.get(family.text_seen, sum(others)))
    rows = len(streams[block_list.streams[0]])
    by_place = goes_by_place(family, args, rows)
    stream, sequence = layout.spans(block_list.joint, image, text)
    if not by_place:
        # References that are modulated with the image change with it, and letting them rest did not pay.
        stream, sequence = stream._replace(references=0), sequence._replace(references=0)
    why = functools.partial(why_no_tokens, family, block_list, args, rows, sequence.length, stream)
    name = block_list.streams[0]
    # What `compute` looks at holds neither it nor the block's input: with a cycle, both would outlive the call until
    # Python collects garbage, which for a long video are gigabytes.
    known = BlockCall(index, {}, (name, stream), sequence, nothing, why, block_list.attends)
    return dataclasses.replace(known, streams=streams, compute=compute)


def nothing(streams: Streams, attending: Attending | None) -> Streams:
    """The block of a call that is only looked at."""
    return streams


def why_no_tokens(
    family: Family, block_list: BlockList, args: Arguments, rows: int, tokens: int, stream: Span
) -> str | None:
    """Why a block with these arguments cannot be run on some of its tokens only, or None.

    rows: of the batch; tokens: of the attention's sequence; stream: where the image is in its own.
    """
    why = family.no_tokens
    if isinstance(why, str):
        return why
    if args.get(OPTIONS) is None:
        return "blocks of this model are not given ComfyUI's options for their attention"
    if why is not None and (here := why(args)):
        return here
    named = [name for name in family.ungathered if args.get(name) is not None]
    if named:
        return f"{named[0]} goes with the tokens, and cannot be cut to some of them"
    by_place = goes_by_place(family, args, rows)
    if by_place and (here := why_no_places(family, block_list, args, stream)):
        return here
    in_a_row = not block_list.joint and len(block_list.streams) == 1
    declared = [(family.per_token, tokens), (family.per_stream_token, stream.length)]
    for name, axes, n in [(*item, n) for per, n in declared for item in per.items()]:
        for tensor in tensors_of(args.get(name), 0):
            if by_place and comes_twice(tensor, axes, rows):
                continue
            axis = token_axis(tensor, axes)
            entries = tensor.shape[axis] if tensor.ndim >= axis + 2 else 1
            known = entries in (1, n) or (in_a_row and entries < n)
            if not known or (axis and len(tensor) not in (1, rows)):
                return f"{name} has the shape {tuple(tensor.shape)}, which is not known for {rows} rows of {n} tokens"
    patches = args[OPTIONS].get("patches", {})
    named = [name for name in ("attn1_patch", "attn1_output_patch", "attn2_patch") if patches.get(name)]
    return f"another patch ({named[0]}) works on this model's attention" if named else None


def cut_to_rows(family: Family, args: Arguments, rows: Mapping[str, Tensor], call: BlockCall) -> dict[str, Any]:
    """Arguments that go with tokens, for the chosen rows of the sequence and of the image's stream."""
    return {
        name: gather_per_token(args[name], axes, rows[kind], call.length(kind), bool(family.places))
        for per, kind in ((family.per_token, SEQUENCE), (family.per_stream_token, STREAM))
        for name, axes in per.items()
        if args.get(name) is not None
    }


def goes_by_place(family: Family, args: Arguments, rows: int) -> bool:
    """Whether a block with these arguments modulates tokens in one of two ways, by their places; rows: of the batch."""
    if any(args.get(name) is not None for name in family.places):
        return True
    declared = family.per_token.items() if family.places else ()
    return any(comes_twice(tensor, axes, rows) for name, axes in declared for tensor in tensors_of(args.get(name), 0))


def why_no_places(family: Family, block_list: BlockList, args: Arguments, stream: Span) -> str | None:
    """Why places are not known in any choice of tokens, or None."""
    if block_list.key is not None:  # patches are not given them
        return None if stream.references else "modulations come twice, and not for tokens of reference pictures"
    try:
        cut_places(family, functools.partial(stream.place, active=1), args)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


def cut_places(family: Family, place: Callable[[int], int], args: Arguments) -> dict[str, Any]:
    """Arguments of a block's forward that are places in the image's stream, for the rows that are computed.

    ValueError where there are none, or where one is not the same place for all samples.
    """
    found = {name: moved(args[name], place) for name in family.places if args.get(name) is not None}
    if not found:
        raise ValueError("modulations come twice, and nothing known tells for which tokens")
    return found


def cut_or_stop(family: Family, place: Callable[[int], int], args: Arguments) -> dict[str, Any]:
    """The same, once there is no way back; with a sentence on what helps where it cannot be done."""
    try:
        return cut_places(family, place, args)
    except (ValueError, TypeError) as error:
        raise OurError(
            f"FastCache cannot select tokens here: {error}. Set token_threshold to 0 for this model."
        ) from error
