"""FastCache for ComfyUI: skips redundant blocks and tokens while a diffusion transformer samples, and shows which."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .nodes.block_cache import FastCacheBlockCache
from .nodes.calibrate import FastCacheCalibrate
from .nodes.compare import FastCacheCompare
from .nodes.fastcache import FastCache
from .nodes.preset import FastCachePreset
from .nodes.preview import FastCachePreview
from .nodes.profiles import FastCacheLoadProfile, FastCacheSaveProfile
from .nodes.token_selector import FastCacheTokenSelector

WEB_DIRECTORY = "./web"


class FastCacheExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            FastCache,
            FastCacheBlockCache,
            FastCacheTokenSelector,
            FastCachePreview,
            FastCacheCompare,
            FastCacheCalibrate,
            FastCacheSaveProfile,
            FastCacheLoadProfile,
            FastCachePreset,
        ]


async def comfy_entrypoint() -> FastCacheExtension:
    return FastCacheExtension()
