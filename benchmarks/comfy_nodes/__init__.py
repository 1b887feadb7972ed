"""Nodes that only the benchmark needs: a meter, a cure for core EasyCache, and extrapolation of the model's output."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .copied import FastCacheBenchCopy
from .extrapolate import FastCacheBenchExtrapolate
from .meter import FastCacheBenchMeter, FastCacheBenchReading


class BenchExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [FastCacheBenchMeter, FastCacheBenchReading, FastCacheBenchCopy, FastCacheBenchExtrapolate]


async def comfy_entrypoint() -> BenchExtension:
    return BenchExtension()
