"""Guidance as other nodes add to it: further passes, another scale, for a part of the run."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy.model_patcher import set_model_options_patch_replace
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io

from .registry import toy_node

KEY = "fastcache_toys_guidance"


class Counted:
    """Counts the evaluations of a run."""

    def __init__(self):
        self.evaluations = 0

    def sampling(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.evaluations = 0
        return executor(*args, **kwargs)

    def evaluation(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.evaluations += 1
        return executor(*args, **kwargs)

    def put_on(self, model: Any) -> None:
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, self.sampling)
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self.evaluation)


def guided_away(scale_of_block: float, amount: float, counted: Counted, until: int) -> Any:
    """A pass with a block's work scaled, from whose answer the picture is pushed away."""

    def patch(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        out = extra["original_block"](args)
        return {**out, "img": out["img"] * scale_of_block}

    def guide(args: dict[str, Any]) -> Any:
        if counted.evaluations > until:
            return args["denoised"]
        place = int(scale_of_block < 1)
        options = set_model_options_patch_replace(args["model_options"].copy(), patch, "dit", "double_block", place)
        given = args["model"], [args["cond"]], args["input"], args["sigma"], options
        (perturbed,) = comfy.samplers.calc_cond_batch(*given)
        return args["denoised"] + amount * (args["cond_denoised"] - perturbed)

    return guide


@toy_node("Passes", [io.Model.Input("model"), io.Int.Input("first_until", default=0)], [io.Model.Output()])
def passes(model: Any, first_until: int) -> Any:
    """Two further passes an evaluation, the first of which ends after so many evaluations."""
    patched, counted = model.clone(), Counted()
    counted.put_on(patched)
    patched.set_model_sampler_post_cfg_function(guided_away(1.5, 0.5, counted, first_until))
    patched.set_model_sampler_post_cfg_function(guided_away(0.5, 0.5, counted, 1000))
    return patched


@toy_node("NoGuidance", [io.Model.Input("model"), io.Int.Input("after", default=0)], [io.Model.Output()])
def no_guidance(model: Any, after: int) -> Any:
    """After so many evaluations the scale is 1, with which ComfyUI does not ask for the negative any more."""
    patched, counted = model.clone(), Counted()
    counted.put_on(patched)

    def evaluation(executor: Any, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        scale = guider.cfg
        guider.cfg = 1.0 if counted.evaluations > after else scale
        try:
            return executor(*args, **kwargs)
        finally:
            guider.cfg = scale

    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, f"{KEY}_scale", evaluation)
    return patched
