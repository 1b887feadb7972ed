"""Between a model's attention and MLP modules and the engine, for the level `sublayer`: in place of their `forward`.

What such a module returns is gated and added to the hidden state by its block, outside of the engine's sight, so that
the present step's gate applies to what is predicted (FORA, arXiv 2407.01425). For the engine it is a block that adds to
a state of zeros: what is kept is the result itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

from ..fastcache_core.adapters import Family
from ..fastcache_core.adapters.family import Layout, Part
from ..fastcache_core.adapters.sublayers import ATTENTION, TEXT_MLP, WORK
from ..fastcache_core.calls import Attending, BlockCall, Streams
from ..fastcache_core.engine import Run
from ..fastcache_core.modules import Forward, replaced_forwards
from ..fastcache_core.tokens import Span
from .blocks import Patch
from .unrecorded import Paused, Unrecorded

NO_TOKENS = "the level sublayer predicts all of them at once"
ON_ATTENTION = ("attn1_patch", "attn1_output_patch")  # other packs' patches within attention modules


class Returned(NamedTuple):
    """What a module was seen to return: width and dtype of its results, and whether these are in a tuple."""

    results: dict[str, tuple[int, torch.dtype]]
    tupled: bool


class Sublayers:
    """The attention and MLP modules of one model during one sampling run. paused: what holds the host's record of
    allocations."""

    def __init__(self, run: Run, family: Family, model: Module, paused: Paused):
        self.run, self.family, self.model, self.paused = run, family, model, paused
        self.all = family.parts(model)
        self.returned: dict[int, Returned] = {}
        self.refused: set[int] = set()  # those that return something else than what they are given
        self.layouts: dict[str | None, Layout] = {}
        self.shape: tuple[int, ...] = ()
        self.entered: torch.Size | None = None  # of the image tokens that the first module of a call was given

    @property
    def names(self) -> list[str]:
        """Of the modules as parts of the model."""
        return [part.module for part in self.all]

    def begin_call(self, shape: tuple[int, ...]) -> None:
        """A model call with an input of this shape starts."""
        self.shape, self.layouts, self.entered = shape, {}, None

    def patch_all(self, patches: dict[tuple[str, int], Patch]) -> dict[tuple[str, int], Patch]:
        """None: patches take the place of whole blocks, whose modules are reached without any."""
        return {}

    def reached(self) -> AbstractContextManager:
        """The modules' forward goes through the engine during this context."""
        here = [index for index, part in enumerate(self.all) if not self._compiled(part)]
        modules = [self.model.get_submodule(self.all[index].module) for index in here]
        return replaced_forwards(modules, lambda at, forward: self._forward(here[at], modules[at], forward))

    def _compiled(self, part: Part) -> bool:
        """Whether the module is within a block that was compiled as a whole, which must not change; a note says so."""
        compiled = hasattr(self.model.get_submodule(part.block), "_orig_mod")
        if compiled:
            self._leave(part, "are parts of blocks that were compiled whole")
        return compiled

    def _forward(self, index: int, module: Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        """What takes the place of one module's forward."""

        def patched(*args: Any, **kwargs: Any) -> Any:
            given = Forward(module, forward, ()).arguments(args, kwargs)
            if self.run.comes_again(index):
                self.run.begin_turn()
                self.layouts, self.entered = {}, None
            if index in self.refused or not self._is_ours(index, given):
                return forward(*args, **kwargs)
            return self._through_engine(index, given, lambda: forward(*args, **kwargs))

        return patched

    def _is_ours(self, index: int, given: Mapping[str, Any]) -> bool:
        """Whether the engine can decide about this call; a note says why not."""
        part = self.all[index]
        streams = [given.get(name) for name in streams_of(part, given)]
        axes = {3, len(part.block_list.axes.split())}
        if not streams or any(not isinstance(h, Tensor) or h.ndim not in axes for h in streams):
            return self._leave(part, "are not given what they were in other versions of ComfyUI")
        rows = {len(flat(part, like(h))) for h in streams}
        if rows != {self.shape[0]}:
            return self._leave(part, f"see {min(rows)} rows of a batch of {self.shape[0]}")
        patches = (given.get("transformer_options") or {}).get("patches", {})
        patch = next((name for name in ON_ATTENTION if patches.get(name)), None)
        if patch and part.layer.kind == ATTENTION:
            return self._leave(part, f"have another patch at work in them ({patch})")
        return True

    def _leave(self, part: Part, why: str) -> bool:
        self.run.report.note(f"The sub-layers {part.kind} {why}; they are left alone.")
        self.run.correct_nothing("some sub-layers are left alone")
        return False

    def _through_engine(self, index: int, given: Mapping[str, Any], run: Callable[[], Any]) -> Any:
        """A module's result as the engine sees fit; `run` runs the module."""
        part, results = self.all[index], []
        names = streams_of(part, given)
        ours = Unrecorded(self.paused)

        def compute(streams: Streams, attending: Attending | None) -> Streams:
            with ours.lifted():
                results.append(run())
            return self._results(index, given, results[0])

        with ours:
            streams = self.run.run_block(self._call(index, given, compute))
            if results:
                return results[0]
            whole = [part.block_list.unflat(streams[n], given[n]) if given[n].ndim != 3 else streams[n] for n in names]
        by_name = dict(zip(names, whole, strict=True))
        ordered = tuple(by_name[name] for name in part.layer.returns or names)
        return ordered if self.returned[index].tupled else ordered[0]

    def _results(self, index: int, given: Mapping[str, Any], out: Any) -> Streams:
        """What a module returned, by the names of what it was given; if it is something else nothing, with a note."""
        part, tupled = self.all[index], isinstance(out, tuple | list)
        results, names = out if tupled else (out,), part.layer.returns or streams_of(part, given)
        alike = len(results) == len(names) and all(
            isinstance(h, Tensor) and h.shape[:-1] == given[name].shape[:-1]
            for name, h in zip(names, results, strict=True)
        )
        if not alike:
            self.refused.add(index)
            self._leave(part, "do not return one result for each token")
            return {}
        by_name = dict(zip(names, results, strict=True))
        self.returned[index] = Returned({name: (h.shape[-1], h.dtype) for name, h in by_name.items()}, tupled)
        return {name: flat(part, h) for name, h in by_name.items()}

    def _call(
        self, index: int, given: Mapping[str, Any], compute: Callable[[Streams, Attending | None], Streams]
    ) -> BlockCall:
        part = self.all[index]
        names, streams = streams_of(part, given), {}
        for name in names:
            h = given[name]
            # Until it was seen, it is taken to be like what is given; what does not fit then is not kept.
            width, dtype = self.returned[index].results[name] if index in self.returned else (h.shape[-1], h.dtype)
            streams[name] = flat(part, like(h, width, dtype))
        image, *others = (h.shape[1] for h in streams.values())
        if part.layer.kind == TEXT_MLP:
            span = sequence = Span(0, image, image)
        else:
            layout = self._layout(part, given)
            span, sequence = layout.spans(part.block_list.joint, image, sum(others))
            sequence = sequence if others else Span(span.start, span.stop, image)
        return BlockCall(
            index,
            streams,
            (names[0], span),
            sequence,
            compute,
            lambda: NO_TOKENS,
            seen=self._seen(part, given[names[0]], span),
            work=WORK[part.layer.kind],
        )

    def _layout(self, part: Part, given: Mapping[str, Any]) -> Layout:
        """Where tokens lie, which is read when the first module of a call is reached."""
        key = None if self.family.joined else part.block_list.attribute
        if key not in self.layouts:
            entering = flat(part, like(given[streams_of(part, given)[0]]))
            self.layouts[key] = layout = Layout.read(self.family, self.model, self.shape, entering, given)
            self.run.report.know_grid(layout.grid)
        return self.layouts[key]

    def _seen(self, part: Part, h: Tensor, span: Span) -> Tensor:
        """What decisions look at: image tokens that the first module of a call is given; later, their shape only."""
        if self.entered is not None:
            return zeros(self.entered, h.device, h.dtype)
        seen = flat(part, h)[:, span.start : span.stop]
        self.entered = seen.shape
        return seen


def streams_of(part: Part, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the arguments that come back, the image's first."""
    return part.layer.streams or tuple(given)[:1]


def flat(part: Part, h: Tensor) -> Tensor:
    """Hidden states as [rows, tokens, width]; some modules have them so where their block does not."""
    return h if h.ndim == 3 else part.block_list.flat(h)


def like(h: Tensor, width: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Zeros in the shape of hidden states, or with another width or dtype."""
    return zeros((*h.shape[:-1], width or h.shape[-1]), h.device, dtype or h.dtype)


def zeros(shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A state of zeros that takes no memory, to be read only."""
    return torch.zeros((), device=device, dtype=dtype).expand(shape)
