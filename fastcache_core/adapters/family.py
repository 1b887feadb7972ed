"""What there is to know about a family, and how its block arguments become a `BlockCall`.

The usual route is ComfyUI's `patches_replace["dit"]`: a patch gets the block's arguments as a dict and a function that
runs the block on such a dict. Arguments are only read and replaced by name, so that new ones pass through untouched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..calls import Attending, BlockCall, Streams
from ..tokens import Span, gather_tokens

Arguments = Mapping[str, Any]
OVERRIDE = "optimized_attention_override"


def padded_grid(shape: tuple[int, ...], patch: Sequence[int]) -> tuple[int, int, int]:
    """(frames, rows, columns) of an input whose last axes are padded up to whole patches, the patch size of each."""
    axes = [-(-length // p) for length, p in zip(shape[-len(patch) :], patch, strict=True)]
    return tuple([1] * (3 - len(axes)) + axes)


@dataclass(frozen=True)
class BlockList:
    """A list of like blocks.

    attribute: its name on the model. key: its name in `patches_replace["dit"]`. streams: the arguments that are hidden
    states, the first of which holds the image tokens. joint: whether text tokens are in that stream as well.
    """

    attribute: str
    key: str
    streams: tuple[str, ...]
    joint: bool


@dataclass(frozen=True)
class Family:
    """A family of diffusion transformers.

    classes: qualified names of its model classes. image_first: whether image tokens come before text tokens in the
    attention's sequence, told from the model. references: where extra image tokens (reference latents) lie: `before` or
    `after` the image's, or `anywhere`, which makes all of them image tokens. no_tokens: why none are selected. grid:
    image tokens as (frames, rows, columns), from the model and the shape of its input. position: the argument that
    holds the rotary table [1 or rows, 1, tokens, ...]. masks: attention masks. ungathered: arguments that would have to
    be cut to the active tokens as well and cannot; when one of them is set, tokens are not selected. route: how blocks
    are reached, by ComfyUI's `patches_replace` or by their `forward`, for models that do not know the former; streams
    are then named as forward's arguments are, and everything in the first one counts as image.
    """

    name: str
    classes: tuple[str, ...]
    lists: tuple[BlockList, ...]
    grid: Callable[[nn.Module, tuple[int, ...]], tuple[int, int, int]]
    image_first: Callable[[nn.Module], bool] = lambda model: False
    references: str = "after"
    no_tokens: str | None = None
    position: str = "pe"
    masks: tuple[str, ...] = ("attn_mask",)
    ungathered: tuple[str, ...] = ()
    route: str = "patches_replace"

    def blocks(self, model: nn.Module) -> list[tuple[BlockList, int, str]]:
        """Every block in order, as (its list, its index there, its name), e.g. (..., 3, "double 3")."""
        return [
            (block_list, i, f"{block_list.key.removesuffix('_block')} {i}")
            for block_list in self.lists
            for i in range(len(getattr(model, block_list.attribute)))
        ]

    def ranges(self, model: nn.Module) -> list[tuple[int, int]]:
        """(first, last) of every list that is not empty, counted over all blocks."""
        ranges, start = [], 0
        for block_list in self.lists:
            n = len(getattr(model, block_list.attribute))
            if n:
                ranges.append((start, start + n - 1))
            start += n
        return ranges


@dataclass(frozen=True)
class Layout:
    """Token counts of one model call: the image grid, all image-stream tokens (with references), text tokens.

    A grid that the tokens do not fill is not the right one; a row of all tokens then takes its place.
    """

    grid: tuple[int, int, int]
    image: int
    text: int
    image_first: bool

    @classmethod
    def read(cls, family: Family, model: nn.Module, shape: tuple[int, ...], args: Arguments) -> Layout:
        """From the input's shape and the arguments of the first block, whose streams are separate."""
        image, *others = (args[name].shape[1] for name in family.lists[0].streams)
        text, grid = sum(others), family.grid(model, shape)
        tokens = grid[0] * grid[1] * grid[2]
        known = tokens == image or (tokens < image and family.references != "anywhere")
        return cls(grid if known else (1, 1, image), image, text, family.image_first(model))

    def spans(self, family: Family, joint: bool) -> tuple[Span, Span]:
        """Where the grid's tokens lie in the block's image stream, and in the attention's sequence."""
        tokens = self.grid[0] * self.grid[1] * self.grid[2]
        start = self.image - tokens if family.references == "before" else 0
        stream = Span(start, start + tokens, self.image)
        start += 0 if self.image_first else self.text
        sequence = Span(start, start + tokens, self.image + self.text)
        return (sequence if joint else stream), sequence


def block_call(
    family: Family,
    block_list: BlockList,
    index: int,
    layout: Layout,
    args: Arguments,
    run: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> BlockCall:
    """Say in the engine's words what ComfyUI is about to do; `run(args)` runs the block (or an earlier patch)."""

    def compute(streams: Streams, attending: Attending | None) -> Streams:
        edited = {**args, **streams}
        if attending is not None:
            edited["transformer_options"] = attend_through(args["transformer_options"], attending)
            if attending.rows is not None:
                edited |= cut_to_rows(family, block_list, args, attending)
        out = run(edited)
        return {name: out[name] for name in streams if out.get(name) is not None}

    stream, sequence = layout.spans(family, block_list.joint)
    streams = {name: args[name] for name in block_list.streams}
    image = block_list.streams[0]
    return BlockCall(index, streams, (image, stream), sequence, compute, why_no_tokens(family, block_list, args))


def why_no_tokens(family: Family, block_list: BlockList, args: Arguments) -> str | None:
    """Why a block with these arguments cannot be run on some of its tokens only, or None."""
    if family.no_tokens:
        return family.no_tokens
    named = [name for name in family.ungathered if args.get(name) is not None]
    if named:
        return f"{named[0]} gives tokens modulations of their own"
    h = args[block_list.streams[0]]
    modulated = {tensor.shape[1] for tensor in modulations(args.get("vec")) if tensor.shape[1] > 1}
    if modulated and not (block_list.joint and modulated == {h.shape[1]}):
        return "vec gives tokens modulations of their own"
    for name in family.masks:
        mask = args.get(name)
        if mask is not None and as_4d(mask).shape[0] not in (1, len(h)):
            return f"{name} has the shape {tuple(mask.shape)}, which is not known"
    patches = args["transformer_options"].get("patches", {})
    named = [name for name in ("attn1_patch", "attn1_output_patch") if patches.get(name)]
    return f"another patch ({named[0]}) works on this model's attention" if named else None


def cut_to_rows(family: Family, block_list: BlockList, args: Arguments, attending: Attending) -> dict[str, Any]:
    """Arguments that go with tokens, for the chosen rows of the sequence: positions, masks, modulations."""
    rows, cut = attending.rows, {}
    if args.get(family.position) is not None:
        cut[family.position] = gather_positions(args[family.position], rows)
    for name in family.masks:
        if args.get(name) is not None:
            cut[name] = gather_mask(args[name], rows, keys=attending.serve is None)
    if block_list.joint and any(tensor.shape[1] > 1 for tensor in modulations(args.get("vec"))):
        cut["vec"] = gather_modulation(args["vec"], rows)
    return cut


def modulations(vec: Any) -> list[Tensor]:
    """The tensors [samples, 1 or tokens, width] that a block's modulation is made of; `vec` may hold them in parts."""
    if isinstance(vec, Tensor):
        return [vec] if vec.ndim == 3 else []
    parts = vec if isinstance(vec, tuple | list) else vars(vec).values() if dataclasses.is_dataclass(vec) else ()
    return [tensor for part in parts for tensor in modulations(part)]


def gather_modulation(vec: Any, rows: Tensor) -> Any:
    """The same modulation for the given rows [samples, k] of the tokens, where it differs between tokens."""
    if isinstance(vec, Tensor):
        per_token = vec.ndim == 3 and vec.shape[1] > 1
        return gather_tokens(vec.expand(len(rows), -1, -1), rows) if per_token else vec
    if isinstance(vec, tuple | list):
        return type(vec)(gather_modulation(part, rows) for part in vec)
    if dataclasses.is_dataclass(vec):
        return dataclasses.replace(vec, **{name: gather_modulation(part, rows) for name, part in vars(vec).items()})
    return vec


def as_4d(mask: Tensor) -> Tensor:
    """Any mask that attention takes as [rows or 1, heads or 1, queries or 1, keys].

    Two axes are [queries, keys] where they are equal, else [rows, keys]; three are [rows, 1 or queries, keys].
    """
    if mask.ndim == 2 and mask.shape[0] != mask.shape[1]:
        return mask[:, None, None]
    return mask[:, None] if mask.ndim == 3 else mask.reshape(*[1] * (4 - mask.ndim), *mask.shape)


def gather_mask(mask: Tensor, rows: Tensor, keys: bool) -> Tensor:
    """An attention mask for the given rows [samples, k] as queries, and as keys too if `keys`; four axes."""
    whole = as_4d(mask)
    if whole.shape[2] == 1 and not keys:
        return mask
    whole = whole.expand(len(rows), *whole.shape[1:])
    if whole.shape[2] > 1:
        whole = whole.gather(2, rows[:, None, :, None].expand(-1, whole.shape[1], -1, whole.shape[3]))
    if keys:
        whole = whole.gather(3, rows[:, None, None, :].expand(-1, *whole.shape[1:3], -1))
    return whole


def gather_positions(table: Tensor, rows: Tensor) -> Tensor:
    """Rotary table [1 or b, 1, tokens, ...] at rows [b, k] -> [b, 1, k, ...]."""
    batch = torch.arange(len(rows), device=rows.device)[:, None] if len(table) > 1 else torch.zeros_like(rows[:1, :1])
    return table[batch, 0, rows].unsqueeze(1)


def attend_through(options: Mapping[str, Any], attending: Attending) -> dict[str, Any]:
    """transformer_options whose attention keeps or serves keys and values, and calls an earlier override as before."""
    earlier = options.get(OVERRIDE)

    def override(attention: Callable, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if attending.serve is not None:
            k, v = attending.serve(k, v)
        elif attending.keep is not None:
            attending.keep(k, v)
        if earlier is None:
            return attention(q, k, v, *args, **kwargs)
        return earlier(attention, q, k, v, *args, **kwargs)

    return {**options, OVERRIDE: override}
