"""Patches as other packs set them: on blocks, on ComfyUI's memory estimate, and blocks that fail."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io

from .registry import toy_node

KEY = "fastcache_toys"
BLOCK = [io.Model.Input("model"), io.String.Input("blocks", default="double_block"), io.Int.Input("index", default=0)]


@toy_node("ScaleBlock", [*BLOCK, io.Float.Input("scale", default=1.0, step=0.001)], [io.Model.Output()])
def scale_block(model: Any, blocks: str, index: int, scale: float) -> Any:
    """A replacing patch that runs what was there before, the block or an earlier patch, and scales its image stream."""
    patched = model.clone()
    replaced = patched.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
    earlier = replaced.get((blocks, index))

    def patch(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        out = extra["original_block"](args) if earlier is None else earlier(args, extra)
        return {**out, "img": out["img"] * scale}

    patched.set_model_patch_replace(patch, "dit", blocks, index)
    return patched


def patch_forward(model: Any, blocks: str, index: int, wrap: Callable[[Callable], Callable]) -> Any:
    """A clone of `model` in which wrap(forward) is one block's forward."""
    patched = model.clone()
    name = f"diffusion_model.{blocks}s.{index}"
    block = patched.get_model_object(name)
    # Not what the block has now, which may be the patch of a model that is loaded still.
    patched.add_object_patch(f"{name}.forward", wrap(functools.partial(type(block).forward, block)))
    return patched


@toy_node("AddBeforeBlock", [*BLOCK, io.Float.Input("amount", default=0.1, step=0.01)], [io.Model.Output()])
def add_before_block(model: Any, blocks: str, index: int, amount: float) -> Any:
    """Adds to the image stream on its way into a block, without a replacing patch."""

    def wrap(forward: Callable) -> Callable:
        def adding(img: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            pattern = torch.randn(img.shape[-1], generator=torch.Generator().manual_seed(1))
            return forward(img + amount * pattern.to(img), *args, **kwargs)

        return adding

    return patch_forward(model, blocks, index, wrap)


FAILURES = {"interrupt": comfy.model_management.InterruptProcessingException, "error": RuntimeError}


@toy_node(
    "FailOnce",
    [*BLOCK, io.Combo.Input("failure", options=list(FAILURES)), io.Int.Input("call", default=1)],
    [io.Model.Output()],
)
def fail_once(model: Any, blocks: str, index: int, failure: str, call: int) -> Any:
    """A block that fails at one of its calls, and never again."""
    calls = 0

    def wrap(forward: Callable) -> Callable:
        def failing(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise FAILURES[failure](f"toy failure at call {call}")
            return forward(*args, **kwargs)

        return failing

    return patch_forward(model, blocks, index, wrap)


class Splitting:
    """Lets ComfyUI believe that memory does not suffice for several conditionings in one batch, from a point on."""

    def __init__(self, after: int):
        self.after, self.evaluations, self.calls = after, 0, 0

    def sampling(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.evaluations = self.calls = 0
        return executor(*args, **kwargs)

    def evaluation(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.evaluations += 1
        return executor(*args, **kwargs)

    def model_call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return executor(*args, **kwargs)

    def memory_required(self, *args: Any, **kwargs: Any) -> float:
        return float("inf") if self.evaluations > self.after else 0.0


@toy_node("Split", [io.Model.Input("model"), io.Int.Input("after", default=0)], [io.Model.Output()])
def split(model: Any, after: int) -> Any:
    """Conditionings share a batch for the first `after` evaluations, then every one has its own call of the model."""
    patched, splitting = model.clone(), Splitting(after)
    patched.add_object_patch("memory_required", splitting.memory_required)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, splitting.sampling)
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, splitting.evaluation)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, splitting.model_call)
    patched.set_attachments(KEY, splitting)
    return patched


@toy_node("PostBlock", [io.Model.Input("model"), io.Float.Input("amount", default=0.1, step=0.01)], [io.Model.Output()])
def post_block(model: Any, amount: float) -> Any:
    """A hook that models such as Qwen-Image call behind every block; it adds to the image behind some of them."""
    patched = model.clone()

    def hook(args: dict[str, Any]) -> dict[str, Any]:
        if args["block_index"] in (1, 2):
            pattern = torch.randn(args["img"].shape[-1], generator=torch.Generator().manual_seed(1))
            args["img"] = args["img"] + amount * pattern.to(args["img"])
        return args

    patched.set_model_patch(hook, "double_block")
    return patched


@toy_node("Tiles", [io.Model.Input("model")], [io.Model.Output()])
def tiles(model: Any) -> Any:
    """Calls the model on the left and the right half of the latents, which overlap, as packs for tiled sampling do."""
    patched = model.clone()

    def apply(apply_model: Callable, call: dict[str, Any]) -> torch.Tensor:
        x, half = call["input"], call["input"].shape[-1] // 2
        over = half // 4 * 2
        left, right = (
            apply_model(part, call["timestep"], **call["c"]) for part in (x[..., : half + over], x[..., half:])
        )
        return torch.cat([left[..., :half], right], dim=-1)

    patched.set_model_unet_function_wrapper(apply)
    return patched


@toy_node("InParts", [io.Model.Input("model"), io.Combo.Input("what", options=["model", "block"])], [io.Model.Output()])
def in_parts(model: Any, what: str) -> Any:
    """Runs the model once on the whole batch and then on each row of it, or one of its blocks on each row."""
    patched = model.clone()

    def row(value: Any, i: int, rows: int) -> Any:
        return value[i : i + 1] if isinstance(value, torch.Tensor) and len(value) == rows else value

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        rows = len(args[0])
        if what == "model":
            executor(*args, **kwargs)
            each = [[row(value, i, rows) for value in args] for i in range(rows)]
            return torch.cat([executor(*parts, **kwargs) for parts in each])
        options = next(value for value in args if isinstance(value, dict) and "cond_or_uncond" in value)
        replaced = options.setdefault("patches_replace", {}).setdefault("dit", {})
        earlier = replaced.get(("double_block", 1))

        def patch(call: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            run = extra["original_block"] if earlier is None else lambda part: earlier(part, extra)
            parts = [run({name: row(value, i, rows) for name, value in call.items()}) for i in range(rows)]
            return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

        replaced["double_block", 1] = patch
        try:
            return executor(*args, **kwargs)
        finally:
            replaced["double_block", 1] = earlier
            if earlier is None:
                del replaced["double_block", 1]

    patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, wrapper)
    return patched


@toy_node(
    "Break", [io.Model.Input("model"), io.String.Input("module"), io.String.Input("attribute")], [io.Model.Output()]
)
def break_function(model: Any, module: str, attribute: str) -> Any:
    """Puts a function that fails in place of one of FastCache's, for the next sampling run with this model."""
    patched, ending = model.clone(), f"ComfyUI-FastCache.nodes.{module}"

    def sampling(executor: Any, *args: Any, **kwargs: Any) -> Any:
        (found,) = (loaded for name, loaded in sys.modules.items() if name.endswith(ending))
        with mock.patch.object(found, attribute, side_effect=RuntimeError("toy failure")):
            samples = executor(*args, **kwargs)
            time.sleep(0.3)  # other threads are to meet it too
            return samples

    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, sampling)
    return patched
