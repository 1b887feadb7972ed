"""Between ComfyUI's calls of a model's blocks and the engine: as patches, or in place of the blocks' `forward`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor
from torch.nn import Module

from ..fastcache_core.adapters import BlockList, Family, find_family
from ..fastcache_core.adapters.family import Layout
from ..fastcache_core.adapters.reach import Cut, block_call
from ..fastcache_core.adapters.unknown import unknown_family, with_streams
from ..fastcache_core.engine import Run
from ..fastcache_core.modules import Forward, replaced_forwards
from .unrecorded import Paused, Unrecorded

Patch = Callable[[dict[str, Any], dict[str, Any]], Any]
RunBlock = Callable[[Mapping[str, Any], Cut | None], Mapping[str, Any]]


def blocks_of(model: Module) -> Family | None:
    """The family that knows this model's blocks, or one made out of its structure; None for what is no transformer."""
    family = find_family(model)
    # A newer version of a known model may have renamed its lists.
    return family if family is not None and family.blocks(model) else unknown_family(model)


class Blocks:
    """The blocks of one model during one sampling run. paused: what holds the host's record of allocations."""

    def __init__(self, run: Run, family: Family, model: Module, paused: Paused):
        self.run, self.family, self.model, self.paused = run, family, model, paused
        self.all = family.blocks(model)
        # By attribute; those of an unknown model get their streams when a block has run.
        self.lists = {block_list.attribute: block_list for block_list, _, _ in self.all}
        self.refused: set[str] = set()  # attributes of those whose blocks did something else
        self.layouts: dict[str | None, Layout] = {}
        self.lengths: dict[str, int] = {}  # tokens in the image's stream of each list, in this turn
        self.shape: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of the blocks as parts of the model."""
        return [name for block_list in self.lists.values() for name in block_list.modules(self.model)]

    def begin_call(self, shape: tuple[int, ...]) -> None:
        """A model call with an input of this shape starts."""
        self.shape = shape
        self._begin_turn()

    def _begin_turn(self) -> None:
        self.layouts, self.lengths = {}, {}

    def patch_all(self, patches: dict[tuple[str, int], Patch]) -> dict[tuple[str, int], Patch]:
        """Lay our patches over those there are in `patches_replace["dit"]`, for models that ask there. Ours."""
        places = [(index, block_list, (block_list.key, i)) for index, (block_list, i, _) in enumerate(self.all)]
        ours = {
            place: self._patch(index, block_list, patches.get(place))
            for index, block_list, place in places
            if block_list.key is not None
        }
        patches.update(ours)
        return ours

    @property
    def _modules(self) -> list[Module]:
        """The blocks themselves."""
        return [block for block_list in self.lists.values() for block in block_list.modules(self.model).values()]

    def reached(self) -> AbstractContextManager:
        """Where the model asks for no patches, its blocks' forward goes through the engine during this context."""
        every = self._modules
        reached = [index for index, (block_list, _, _) in enumerate(self.all) if block_list.key is None]

        def replacement(at: int, forward: Callable) -> Callable:
            index = reached[at]
            return self._forward(index, self.all[index][0], every[index], forward)

        return replaced_forwards([every[index] for index in reached], replacement)

    def _patch(self, index: int, block_list: BlockList, earlier: Patch | None) -> Patch:
        """For one block; `earlier`, another pack's, then runs in the block's place."""

        def patch(args: dict[str, Any], extra: dict[str, Any]) -> Any:
            def run(edited: Mapping[str, Any], cut: Cut | None) -> Mapping[str, Any]:
                edited = block_list.together(edited)
                with self._given(index, cut):
                    out = earlier(edited, extra) if earlier is not None else extra["original_block"](edited)
                return {block_list.streams[0]: out} if block_list.bare else block_list.apart(out)

            streams = self._through_engine(index, block_list, block_list.apart(args), run)
            if block_list.bare:
                return streams[block_list.streams[0]]
            # The last block of some models returns no text.
            return block_list.together(dict.fromkeys(block_list.streams) | streams)

        return patch

    def _given(self, index: int, cut: Cut | None) -> AbstractContextManager:
        """While this lasts, what the block's forward is given goes through `cut` first, if there is one."""
        if cut is None:
            return nullcontext()
        block = self._modules[index]  # while the model runs, a compiled one may be in its place

        def replacement(_: int, forward: Callable) -> Callable:
            real = Forward(block, forward, ())

            def cutting(*args: Any, **kwargs: Any) -> Any:
                given = real.arguments(args, kwargs)
                return real.run(len(args), {**given, **cut(given)})

            return cutting

        return replaced_forwards([block], replacement)

    def _forward(self, index: int, block_list: BlockList, block: Module, forward: Callable) -> Callable:
        """What takes the place of one block's forward."""

        def patched(*args: Any, **kwargs: Any) -> Any:
            known = self.lists[block_list.attribute]
            if known.streams:
                real = Forward(block, forward, known.returns or known.streams, known.tupled)
                given = real.arguments(args, kwargs)

                def run(edited: Mapping[str, Any], cut: Cut | None) -> Mapping[str, Any]:
                    return real.streams(real.run(len(args), {**edited, **(cut(edited) if cut else {})}))

                return real.returned(self._through_engine(index, known, given, run))
            if block_list.attribute in self.refused:
                return forward(*args, **kwargs)
            return self._made_out(index, block_list, Forward(block, forward, ()), args, kwargs)

        return patched

    def _made_out(self, index: int, block_list: BlockList, real: Forward, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run a block of an unknown model as it is, see what its hidden states are, and tell the engine."""
        given = real.arguments(args, kwargs)
        before = {name: value.clone() if isinstance(value, Tensor) else value for name, value in given.items()}
        out = real.run(len(args), given)
        found = with_streams(block_list, before, out, self.shape[0])
        if found is None:
            self._refuse(block_list, "do not return what they are given in its shape")
        else:
            self.lists[block_list.attribute] = found
            streams = dict(zip(found.returns, out if found.tupled else (out,), strict=True))
            self._through_engine(index, found, before, lambda edited, cut: streams)  # computed: nothing is kept yet
        return out

    def _refuse(self, block_list: BlockList, why: str) -> None:
        """Leave a list alone for the rest of the run."""
        self.refused.add(block_list.attribute)
        self._leave(block_list, why)

    def _leave(self, block_list: BlockList, why: str) -> None:
        self.run.report.note(f"The blocks in {block_list.attribute} {why}; they are left alone.")
        self.run.correct_nothing("some blocks are left alone")

    def _through_engine(self, index: int, block_list: BlockList, args: Mapping[str, Any], run: RunBlock) -> Mapping:
        """A block's streams as the engine sees fit; `run` runs the block. Both as the host has them."""
        if block_list.aside(args):
            return run(args, None)
        if self.run.passes(index):
            return {name: args[name] for name in block_list.streams}
        if self.run.comes_again(index):
            self.run.begin_turn()  # even if it is left alone then, so that it passes nothing on
            self._begin_turn()
        layout = self._layout(block_list, args)
        if layout is None:
            return run(args, None)
        ours = Unrecorded(self.paused)

        def outside(edited: Mapping[str, Any], cut: Cut | None) -> Mapping[str, Any]:
            with ours.lifted():
                return run(edited, cut)

        with ours:
            call = block_call(self.family, block_list, index, layout, args, outside, self.paused)
            streams = self.run.run_block(call)
            return {name: block_list.unflat(h, args[name]) for name, h in streams.items()}

    def _layout(self, block_list: BlockList, args: Mapping[str, Any]) -> Layout | None:
        """Where tokens lie, which is read when the first block of a call is reached; None, with a note, if unknown."""
        if block_list.attribute in self.refused:
            return None
        if any(not isinstance(args.get(name), Tensor) for name in block_list.streams):
            names = ", ".join(block_list.streams)
            return self._leave(block_list, f"are not given what they were in other versions of ComfyUI ({names})")
        entering = block_list.flat(args[block_list.streams[0]])
        rows, tokens = entering.shape[:2]
        if rows != self.shape[0]:
            return self._leave(block_list, f"see {rows} rows of a batch of {self.shape[0]}")
        if self.lengths.setdefault(block_list.attribute, tokens) != tokens:
            return self._refuse(block_list, "see streams of several lengths in one call")
        key = None if self.family.joined else block_list.attribute
        if key in self.layouts:
            return self.layouts[key]
        if self.family.joined and block_list != self.all[0][0]:
            self.run.report.note("The first blocks were replaced by another node; this call is left alone.")
            self.run.correct_nothing("some blocks are left alone")
            return None
        self.layouts[key] = layout = Layout.read(self.family, self.model, self.shape, entering, args)
        self.run.report.know_grid(layout.grid)
        return layout
