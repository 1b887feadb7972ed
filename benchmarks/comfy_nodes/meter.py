"""Counts the floating-point operations that a model's blocks do while it samples, whatever made them fewer.

Every row is measured by this one meter: the linear layers inside the model's lists of blocks are counted as often, and
for as many tokens, as they run.
"""

from __future__ import annotations

import json
from typing import Any

from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch.nn import Linear, Module, ModuleDict, ModuleList

KEY = "fastcache_bench_meter"


class Meter:
    """OUTER_SAMPLE wrapper: operations of the last sampling run."""

    def __init__(self) -> None:
        self.operations = 0

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.operations = 0
        model = executor.class_obj.model_patcher.model.diffusion_model
        hooks = [layer.register_forward_hook(self.count) for layer in layers_of_blocks(model)]
        try:
            return executor(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()

    def count(self, layer: Linear, inputs: tuple[Any, ...], output: Any) -> None:
        """A linear layer has run: two operations for each weight and row."""
        self.operations += 2 * layer.in_features * output.numel()


def layers_of_blocks(model: Module) -> list[Linear]:
    """The linear layers in the model's own lists of blocks; all of its linear layers where it has no such list."""
    lists = [part for part in model.children() if isinstance(part, ModuleList | ModuleDict)]
    return [layer for part in lists or [model] for layer in part.modules() if isinstance(layer, Linear)]


class FastCacheBenchMeter(io.ComfyNode):
    """MODEL in, MODEL out, metered; another `run` makes ComfyUI sample once more what it has cached."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheBenchMeter",
            category="fastcache benchmark",
            inputs=[io.Model.Input("model"), io.String.Input("run", default="")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, run: str) -> io.NodeOutput:
        patched = model.clone()
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, Meter())
        return io.NodeOutput(patched)


class FastCacheBenchReading(io.ComfyNode):
    """What the meter on a MODEL has counted, as text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheBenchReading",
            category="fastcache benchmark",
            inputs=[io.Model.Input("model"), io.Latent.Input("after_sample")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any, after_sample: Any) -> io.NodeOutput:
        meter = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)[-1]
        return io.NodeOutput(ui={"text": [json.dumps(meter.operations)]})
