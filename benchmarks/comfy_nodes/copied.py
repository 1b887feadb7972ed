"""A cure for core EasyCache in float32, where it adds to the sampler's own tensor.

EasyCache adds its cached difference to its input in place. In half precision that is a converted copy; in float32 it is
the latent that the sampler goes on with. This node hands the model, and EasyCache in front of it, a copy.
"""

from __future__ import annotations

from typing import Any

from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io


def with_copied_input(executor: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """DIFFUSION_MODEL wrapper, outside of EasyCache's."""
    return executor(x.clone(), *args, **kwargs)


class FastCacheBenchCopy(io.ComfyNode):
    """MODEL in, MODEL out; goes before EasyCache, so that its wrapper is the outer one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheBenchCopy",
            category="fastcache benchmark",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        patched = model.clone()
        patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "fastcache_bench_copy", with_copied_input)
        return io.NodeOutput(patched)
