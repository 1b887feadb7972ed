"""What there is to know about a family of diffusion transformers: where its blocks are and what they are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from einops import parse_shape, rearrange
from torch import Tensor, nn

from ..calls import SEQUENCE
from ..defaults import Defaults, by_rule
from ..tokens import Span
from .grids import Grid, untold
from .rows import Axes
from .sublayers import SubLayer

Arguments = Mapping[str, Any]
FLAT = "b n d"
FORWARD = "forward"


def first(model: nn.Module, tokens: int, length: int) -> int:
    """The image's tokens come first in their stream."""
    return 0


def last(model: nn.Module, tokens: int, length: int) -> int:
    """The image's tokens come last in their stream."""
    return length - tokens


def none(args: Arguments) -> int:
    return 0


def never(of: Any) -> bool:
    return False


def always(model: nn.Module) -> bool:
    return True


@dataclass(frozen=True)
class BlockList:
    """A list of like blocks.

    attribute: its name on the model, `a.b` for one further in; a ModuleList or ModuleDict. streams: the arguments that
    are hidden states, the first of which holds the image tokens: names of a patch's arguments, or of forward's
    parameters where there is no key. joint: whether text tokens are in that stream as well. key: its name in
    `patches_replace["dit"]`, None where the model does not ask there, so that the blocks' `forward` is replaced.
    returns: the streams in the order in which forward returns them, where that is another one; tupled: whether it
    returns a tuple even of one. bare: whether patches return the stream itself and not a dict. packed: the argument and
    result of patches that holds all streams, in that order; their names are then our own. axes: of a stream, in einops'
    words, without b where it has no axis of samples. attends: what the attention calls of a block see in turn: the
    whole `sequence`, the image's `stream` only, or `others`, such as text by cross-attention; calls after these see
    others. sublayers: the attention and MLP modules that do nearly all the work of a block, in the order of their
    calls; none where they do not. aside: tells from a block's arguments whether this call is for something else than
    the hidden state, and not to be looked at.
    """

    attribute: str
    streams: tuple[str, ...]
    joint: bool = False
    key: str | None = None
    returns: tuple[str, ...] = ()
    tupled: bool = False
    bare: bool = False
    packed: str | None = None
    axes: str = FLAT
    attends: tuple[str, ...] = (SEQUENCE,)
    sublayers: tuple[SubLayer, ...] = ()
    aside: Callable[[Arguments], bool] = never

    def modules(self, model: nn.Module) -> dict[str, nn.Module]:
        """The blocks by their names within the model; none where the model has no such list."""
        try:
            found = model.get_submodule(self.attribute)
        except AttributeError:
            return {}
        return {f"{self.attribute}.{name}": block for name, block in found.named_children()}

    @property
    def label(self) -> str:
        """What a block is called, e.g. "double" or "layer"."""
        return (self.key or self.attribute.rpartition(".")[2].removesuffix("s")).removesuffix("_block")

    def flat(self, h: Tensor) -> Tensor:
        """A stream as [rows, tokens, width]."""
        return h if self.axes == FLAT else rearrange(h, f"{self.axes} -> {self._flat_axes}")

    def unflat(self, h: Tensor, like: Tensor, chosen: bool = False) -> Tensor:
        """The opposite, with axes of the lengths that `like` has; tokens that were chosen lie along the first one."""
        if self.axes == FLAT:
            return h
        others = self._axes[1:]
        lengths = dict.fromkeys(others, 1) if chosen else {a: parse_shape(like, self.axes)[a] for a in others}
        return rearrange(h, f"{self._flat_axes} -> {self.axes}", **lengths)

    def apart(self, args: Arguments) -> Arguments:
        """A patch's arguments or result with the streams by name."""
        return args if self.packed is None else {**args, **dict(zip(self.streams, args[self.packed], strict=False))}

    def together(self, args: Arguments) -> Arguments:
        """The opposite."""
        if self.packed is None:
            return args
        others = {name: value for name, value in args.items() if name not in self.streams}
        return others | {self.packed: tuple(args[name] for name in self.streams)}

    @property
    def _axes(self) -> list[str]:
        return [axis for axis in self.axes.split() if axis not in ("b", "d")]

    @property
    def _flat_axes(self) -> str:
        return f"{'b' if 'b' in self.axes.split() else 1} ({' '.join(self._axes)}) d"


@dataclass(frozen=True)
class Family:
    """A family of diffusion transformers.

    classes: qualified names of its model classes. grid: image tokens as (frames, rows, columns), from the model and the
    shape of its input. start: where the grid's tokens start in a stream that is longer, because it has reference or
    text tokens too, from the model, their number and the stream's; None where they are not in a row. behind: how many
    reference tokens come after those that `start` takes for the last, from a block's arguments. image_first: whether
    image tokens come before text tokens in the attention's sequence, where there are blocks that have both apart.
    per_token: arguments with an entry for every token of the attention's sequence, and the axis that counts them, from
    the end if negative, or several by which versions of ComfyUI differ, the first longer than 1 of which does; entries
    may be fewer, each for several tokens in a row (frames). per_stream_token: the same for arguments that go with the
    tokens of the image's stream, where that has others beside it. places: arguments of a block's forward that say where
    in the image's stream the second of two modulations holds, from an index on or in ranges. text_seen: the argument
    that says how many of the text's tokens attention sees, where these are not all. ungathered: arguments that would
    have to be cut to the active tokens as well and cannot; when one of them is set, tokens are not selected. no_tokens:
    why none are selected in any case, or what tells from a block's arguments why none are, None where they may be.
    separate: why blocks must not be predicted together, None where they may. joined: whether each list hands its image
    tokens to the next and the last one to the head, which reads no others. mixed: whether the model mixes up the
    conditionings of a batch, so that what is kept of them holds in the same batch only. references: whether all that
    comes behind the grid's tokens in the image's stream is of reference pictures, which no head reads; they may rest
    where their modulation is another than the image's. medium: image, video, audio or 3d. defaults: settings that were
    measured on real weights; None: by rule.
    """

    name: str
    classes: tuple[str, ...]
    lists: tuple[BlockList, ...]
    grid: Callable[[nn.Module, tuple[int, ...]], Grid]
    start: Callable[[nn.Module, int, int], int | None] = first
    image_first: Callable[[nn.Module], bool] = never
    per_token: Mapping[str, Axes] = field(default_factory=lambda: {"pe": 2, "vec": 1})
    per_stream_token: Mapping[str, Axes] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    text_seen: str | None = None
    ungathered: tuple[str, ...] = ()
    no_tokens: str | Callable[[Arguments], str | None] | None = None
    separate: str | None = None
    behind: Callable[[Arguments], int] = none
    joined: bool = True
    mixed: bool = False
    references: bool = False
    medium: str = "image"
    defaults: Defaults | None = None

    @property
    def route(self) -> str:
        """How blocks are reached, or some of them."""
        return FORWARD if any(block_list.key is None for block_list in self.lists) else "patches_replace"

    def tokens(self, model: nn.Module, shape: tuple[int, ...]) -> Grid:
        """The grid; without tokens where the input's shape is none that the family knows."""
        try:
            return self.grid(model, shape)
        except (ValueError, IndexError, TypeError, AttributeError):
            return untold(model, shape)

    def defaults_for(self, model: nn.Module, shape: tuple[int, ...]) -> Defaults:
        """What stands for settings that are left open, when this model works on an input of this shape."""
        return self.defaults or by_rule(len(self.blocks(model)), math.prod(self.tokens(model, shape)))

    def blocks(self, model: nn.Module) -> list[tuple[BlockList, int, str]]:
        """Every block in order, as (its list, its index there, its name), e.g. (..., 3, "double 3")."""
        return [
            (block_list, i, f"{block_list.label} {i}")
            for block_list in self.lists
            for i in range(len(block_list.modules(model)))
        ]

    def ranges(self, model: nn.Module) -> list[tuple[int, int]]:
        """(first, last) of every list that is not empty, counted over all blocks."""
        ranges, start = [], 0
        for block_list in self.lists:
            n = len(block_list.modules(model))
            if n:
                ranges.append((start, start + n - 1))
            start += n
        return ranges

    def parts(self, model: nn.Module) -> list[Part]:
        """Every sub-layer of the model, those of a kind in a row; none, unless all of its blocks have such."""
        lists = [block_list for block_list in self.lists if block_list.modules(model)]
        if not all(block_list.sublayers for block_list in lists):
            return []
        found = []
        for block_list, layer in [(of_blocks, layer) for of_blocks in lists for layer in of_blocks.sublayers]:
            kind = layer.kind if len(lists) == 1 else f"{block_list.label}_{layer.kind}"
            for i, (name, block) in enumerate(block_list.modules(model).items()):
                path = layer.path(block)
                if path is not None:
                    found.append(Part(block_list, layer, kind, f"{kind} {i}", name, f"{name}.{path}"))
        return found


@dataclass(frozen=True)
class Part:
    """One sub-layer of one block.

    kind: what those like it are called; name: its own, e.g. "mlp 3"; block, module: their names within the model.
    """

    block_list: BlockList
    layer: SubLayer
    kind: str
    name: str
    block: str
    module: str


def kinds_of(parts: Sequence[Part]) -> list[tuple[int, int]]:
    """(first, last) of the sub-layers of every kind."""
    kinds = [part.kind for part in parts]
    return [(kinds.index(kind), kinds.index(kind) + kinds.count(kind) - 1) for kind in dict.fromkeys(kinds)]


@dataclass(frozen=True)
class Layout:
    """Where tokens lie in one model call: the image's grid, its start in the image's tokens (with references), how
    many of these there are, and how many references right behind the grid may rest.

    A grid that has more tokens than there are, or whose tokens are not in a row, is not the right one; a row of all
    tokens then takes its place.
    """

    grid: Grid
    start: int
    image: int
    image_first: bool
    references: int = 0

    @classmethod
    def read(
        cls, family: Family, model: nn.Module, shape: tuple[int, ...], entering: Tensor, args: Arguments
    ) -> Layout:
        """From the input's shape and the stream [rows, tokens, width] that holds image tokens as they enter the block
        with these arguments."""
        image, grid = entering.shape[1], family.tokens(model, shape)
        tokens = math.prod(grid)
        start = family.start(model, tokens, image - family.behind(args)) if 0 < tokens <= image else None
        if start is None:
            return cls((1, 1, image), 0, image, family.image_first(model))
        references = image - start - tokens if family.references else 0
        return cls(grid, start, image, family.image_first(model), references)

    def spans(self, joint: bool, image: int, text: int) -> tuple[Span, Span]:
        """Where the grid's tokens lie in a block's image stream, and in the attention's sequence.

        image: length of that stream, which has the text's tokens too if it is joint; text: tokens of the other ones.
        """
        tokens = math.prod(self.grid)
        length = image + text
        start = self.start + (0 if self.image_first else length - self.image)
        sequence = Span(start, start + tokens, length, self.references)
        stream = Span(self.start, self.start + tokens, image, self.references)
        return (sequence if joint else stream), sequence
