"""Making out the blocks of a model that no adapter knows.

Its transformer blocks are the lists of alike modules that hold most of its weights. What is a hidden state there shows
when a block runs for the first time: arguments that come back in the same shape.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .family import FLAT, BlockList, Family
from .grids import untold

UNKNOWN = "unknown"
AXES = {3: FLAT, 4: "b h w d", 5: "b t h w d"}
TINY = 1e-12


def unknown_family(model: nn.Module) -> Family | None:
    """A family for this model, whose lists have no streams yet (`with_streams`); None if it is no such transformer."""
    weights = {name: _weights(found) for name, found in _lists_of_alike(model).items()}
    large = [name for name, n in weights.items() if n >= max(weights.values()) / 4]
    if 2 * sum(weights[name] for name in large) <= _weights(model):
        return None
    return Family(
        UNKNOWN,
        (),
        tuple(BlockList(name, streams=()) for name in large),
        grid=untold,
        no_tokens="unknown family, block cache only",
        joined=False,
    )


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _lists_of_alike(model: nn.Module) -> dict[str, nn.Module]:
    """Lists that consist of modules of one class, most of them with the same parameters, and are in no other list.

    The transformers within a U-Net are in such a list, that of its stages.
    """
    found: dict[str, nn.Module] = {}
    outer: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{n}.") for n in (*outer, *found))
        if inside or not isinstance(module, nn.ModuleList | nn.ModuleDict):
            continue
        if isinstance(module, nn.ModuleList):
            outer.append(name)
        blocks = list(module.values() if isinstance(module, nn.ModuleDict) else module)
        if len(blocks) > 1 and len({type(block) for block in blocks}) == 1:
            shapes = Counter(tuple((n, p.shape) for n, p in block.named_parameters()) for block in blocks)
            (parameters, times), *_ = shapes.most_common(1)
            if parameters and 2 * times > len(blocks):
                found[name] = module
    return found


def with_streams(block_list: BlockList, args: Mapping[str, Any], out: Any, rows: int) -> BlockList | None:
    """The list with the streams that a first run shows; None where the first tensor does not come back in its shape.

    args: the arguments of a block, as they were before it ran; out: what it returned; rows: of the batch. Of several
    arguments of a shape, each result belongs to the one that it is closest to, since blocks add to their input.
    """
    given = {name: h for name, h in args.items() if isinstance(h, Tensor) and h.ndim in AXES and len(h) == rows}
    tupled, returned = type(out) in (tuple, list), []  # one with names may be read by them
    for result in out if tupled else (out,):
        like = [name for name, h in given.items() if isinstance(result, Tensor) and h.shape == result.shape]
        if not like and result is not None:
            return None
        returned.append(min(like, key=lambda name: _distance(result, given[name])) if like else f"none {len(returned)}")
    streams = tuple(name for name in given if name in returned)
    axes = {given[name].ndim for name in streams}
    if not streams or streams[0] != next(iter(given)) or len(axes) > 1 or len(set(returned)) < len(returned):
        return None
    made_out = {"streams": streams, "returns": tuple(returned), "tupled": tupled, "axes": AXES[axes.pop()]}
    return dataclasses.replace(block_list, **made_out)


def _distance(result: Tensor, h: Tensor) -> float:
    """Relative, and without regard to how much longer the result has become."""
    a, b = result.flatten().float(), h.flatten().float()  # not every device has more
    return 1 - float(a @ b / (a.norm() * b.norm() + TINY))
