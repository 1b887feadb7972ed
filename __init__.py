"""FastCache for ComfyUI: skips redundant blocks and tokens while a diffusion transformer samples, and shows which."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .nodes.fastcache import FastCache
from .nodes.preview import FastCachePreview

WEB_DIRECTORY = "./web"


class FastCacheExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [FastCache, FastCachePreview]


async def comfy_entrypoint() -> FastCacheExtension:
    return FastCacheExtension()
