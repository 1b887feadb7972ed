"""Extrapolation of the model's output on a given schedule: a multistep solver in disguise, with next to no memory.

At predicted evaluations the derivative (x - denoised) / sigma, which is the model's own output where that is a velocity
or noise, is carried on in sigma along the line through its last two computed values; while there is only one, it is
kept. Nothing is damped.
"""

from __future__ import annotations

import json
from typing import Any

from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

KEY = "fastcache_bench_extrapolate"
SAME_SIGMA = 1e-3  # relative; samplers of second order evaluate some sigmas twice


class Extrapolation:
    """Wrappers that follow a mask: 1 for every evaluation to compute, 0 for every one to predict."""

    def __init__(self, mask: list[int]):
        self.mask = mask
        self.reset()

    def reset(self) -> None:
        self.evaluation = 0
        self.anchors: list[tuple[float, Tensor]] = []  # the last two, newest first: sigma, derivative

    def sampling(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """OUTER_SAMPLE: nothing is kept from run to run."""
        self.reset()
        try:
            return executor(*args, **kwargs)
        finally:
            self.reset()

    def predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """PREDICT_NOISE: one evaluation, all conditionings together."""
        sigma = float(timestep.flatten()[0])
        due = self.evaluation >= len(self.mask) or bool(self.mask[self.evaluation])
        self.evaluation += 1
        if not due and self.anchors:
            return x - sigma * self.derivative(sigma)
        denoised = executor(x, timestep, *args, **kwargs)
        if sigma > 0:
            self.keep(sigma, (x - denoised) / sigma)
        return denoised

    def keep(self, sigma: float, derivative: Tensor) -> None:
        older = [(known, kept) for known, kept in self.anchors if abs(known - sigma) > SAME_SIGMA * sigma]
        self.anchors = [(sigma, derivative), *older[:1]]

    def derivative(self, sigma: float) -> Tensor:
        """On the line through both anchors; of one anchor, its own."""
        (at, newest), *others = self.anchors
        if not others:
            return newest
        before, older = others[0]
        return newest + (sigma - at) / (at - before) * (newest - older)


class FastCacheBenchExtrapolate(io.ComfyNode):
    """MODEL in, MODEL out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheBenchExtrapolate",
            category="fastcache benchmark",
            inputs=[io.Model.Input("model"), io.String.Input("mask", default="[]")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, mask: str) -> io.NodeOutput:
        patched, follows = model.clone(), Extrapolation(json.loads(mask))
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, follows.sampling)
        patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, follows.predict_noise)
        return io.NodeOutput(patched)
