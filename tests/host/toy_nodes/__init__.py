"""Test nodes: toy models, odd samplers, noise and conditionings, patches as other packs set them, and probes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import guidance, models, patches, probes, sampling, unknown
from .registry import NODES

__all__ = ["comfy_entrypoint", "guidance", "models", "patches", "probes", "sampling", "unknown"]


class ToyExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> ToyExtension:
    return ToyExtension()
