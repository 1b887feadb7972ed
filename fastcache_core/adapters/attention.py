"""ComfyUI's `optimized_attention_override`, through which a block's attention sees keys and values of all tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any

from torch import Tensor

from ..calls import Attending, BlockCall, OurError
from .rows import as_4d, gather_mask

OVERRIDE = "optimized_attention_override"


def attend_through(
    options: Mapping[str, Any],
    attending: Attending,
    call: BlockCall,
    unrecorded: Callable[[], AbstractContextManager] = nullcontext,
) -> dict[str, Any]:
    """transformer_options whose attention keeps or serves keys and values, and calls an earlier override as before.

    Attention calls of a block are told apart by their order. unrecorded: makes a context in which what is allocated
    outlives the block.
    """
    earlier, numbers = options.get(OVERRIDE), count()

    def override(attention: Callable, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        number = next(numbers)
        if number in call.own_attention:
            change = _keep if attending.rows is None else _serve
            args, kwargs, mask, put = _mask_in(args, kwargs)
            with unrecorded():
                if not kwargs.get("skip_reshape"):
                    k, v = k.flatten(2), v.flatten(2)  # some hand over heads apart from tokens, others together
                k, v, mask = change(attending, call, number, k, v, mask)
            put(mask)
        if earlier is None:
            return attention(q, k, v, *args, **kwargs)
        return earlier(attention, q, k, v, *args, **kwargs)

    return {**options, OVERRIDE: override}


def _mask_in(args: tuple, kwargs: dict) -> tuple[list, dict, Tensor | None, Callable[[Tensor | None], None]]:
    """Copies of what attention is given beside q, k, v; the mask in there; and how to put another in its place.

    The mask is attention's second argument after these, the first one being the number of heads.
    """
    args, kwargs = list(args), dict(kwargs)
    where, at = (args, 1) if len(args) > 1 else (kwargs, "mask")
    mask = args[1] if len(args) > 1 else kwargs.get("mask")

    def put(changed: Tensor | None) -> None:
        if changed is not mask:
            where[at] = changed

    return args, kwargs, mask, put


def _keep(attending: Attending, call: BlockCall, number: int, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple:
    whole = None if mask is None else as_4d(mask)
    if attending.keep is not None and (whole is None or len(whole) in (1, len(k))):
        of_keys = whole if whole is not None and whole.shape[2] == 1 else None
        attending.keep(number, k, v, of_keys)
    return k, v, mask


def _serve(attending: Attending, call: BlockCall, number: int, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple:
    kind, serving = call.attends[number], attending.serve is not None
    rows, tokens = attending.rows[kind], call.length(kind)
    kept = None
    if serving:
        k, v, kept = attending.serve(number, k, v)
    if mask is None:
        return k, v, None
    if as_4d(mask).shape[3] == tokens:
        return k, v, gather_mask(mask, rows, keys=not serving)
    if not serving:
        return k, v, mask  # the block made it of the tokens it was given
    if kept is None:
        raise OurError(
            f"FastCache cannot select tokens here: an attention mask of the shape {tuple(mask.shape)} is made of the "
            f"{rows.shape[1]} tokens that are computed, out of {tokens}. Set token_threshold to 0 for this model."
        )
    return k, v, kept
