"""What host tests share: the demo's graph and what is done with it, and what must hold with every companion."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from demo.graphs import Graph, demo_graph, node
from fastcache_core.metrics import psnr
from hosting.comfy_server import ComfyServer

DEFAULTS = {
    "block_threshold": 0.1,
    "token_threshold": 0.0,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "max_consecutive_skips": 3,
    "cache_device": "main",
}
BLOCK_CACHE = {
    "rule": "significance",
    "threshold": 0.1,
    "alpha": 0.5,
    "interval": 3,
    "predictor": "auto",
    "level": "auto",
    "block_thresholds": "",
    "warmup_evaluations": 0,
}
TOKEN_SELECTOR = {
    "threshold": 0.0001,
    "min_active": 0.0,
    "max_active": 1.0,
    "refresh_interval": 3,
    "context": "all_tokens",
}
PROMPTS = ("red trousers", "blue boot", "green bag")
ALL_BLOCKS = {"level": "stack", "threshold": 10.0}  # predicted together whenever they may be
Report = dict[str, Any]
_fresh = itertools.count()


def graph(seed: int = 7, fastcache: dict[str, Any] | None = None, **options: Any) -> Graph:
    """The demo's graph; fastcache: changes to the default widget values, None for a graph without the node."""
    settings = None if fastcache is None else DEFAULTS | fastcache
    return demo_graph(seed, fastcache=settings, **{"prompts": PROMPTS, **options})


def refined(graph: Graph, block_cache: dict | None = None, token_selector: dict | None = None) -> Graph:
    """The same graph with the nodes that refine FastCache's widgets; the dicts are changes to their default values."""
    graph = copy.deepcopy(graph)
    if block_cache is not None:
        graph["rules"] = node("FastCacheBlockCache", **(BLOCK_CACHE | block_cache))
        graph["fastcache"]["inputs"]["block_cache"] = ["rules", 0]
    if token_selector is not None:
        graph["tokens"] = node("FastCacheTokenSelector", **(TOKEN_SELECTOR | token_selector))
        graph["fastcache"]["inputs"]["token_selector"] = ["tokens", 0]
    return graph


def toy_graph(
    family: str,
    fastcache: dict | None = None,
    steps: int = 12,
    cfg: float = 2.0,
    references: bool = False,
    batch: int = 2,
) -> Graph:
    """Latents of a toy model."""
    graph = {
        "toy": node("FastCacheToyModel", family=family),
        "positive": node("FastCacheToyConditioning", family=family, seed=1, references=references),
        "negative": node("FastCacheToyConditioning", family=family, seed=2, references=references),
        "empty": node("FastCacheToyLatent", family=family, batch=batch),
    }
    model = "toy" if fastcache is None else "fastcache"
    if fastcache is not None:
        graph["fastcache"] = node("FastCache", model=["toy", 0], **(DEFAULTS | fastcache))
        graph["preview"] = node("FastCachePreview", model=["fastcache", 0], after_sample=["sample", 0])
    graph["sample"] = node(
        "KSampler",
        model=[model, 0],
        positive=["positive", 0],
        negative=["negative", 0],
        latent_image=["empty", 0],
        seed=3,
        steps=steps,
        cfg=cfg,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    return graph


def sample(server: ComfyServer, graph: Graph) -> tuple[np.ndarray, Report | None]:
    """The latents, bit for bit as the sampler made them, and the report. ComfyUI may have the sampler's cached."""
    (latents,), outputs = sample_all(server, graph, ["sample"])
    return latents, outputs["preview"]["fastcache_report"][0] if "preview" in outputs else None


def sample_all(server: ComfyServer, graph: Graph, samplers: list[str]) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The latents of several samplers in one graph, and the outputs of its nodes."""
    graph = {key: value for key, value in graph.items() if key not in ("decode", "save", "map")}
    names = {sampler: f"latent_{next(_fresh)}" for sampler in samplers}
    for sampler, name in names.items():
        graph[f"{name} packed"] = node("FastCacheToyPacked", latent=[sampler, 0])
        graph[name] = node("SaveLatent", samples=[f"{name} packed", 0], filename_prefix=name)
    outputs = server.run(graph)["outputs"]
    return [saved_latent(server, name) for name in names.values()], outputs


def saved_latent(server: ComfyServer, name: str) -> np.ndarray:
    (path,) = (server.base / "output").glob(f"{name}_*.latent")
    return load_file(path)["latent_tensor"]


def afresh(graph: Graph, sampler: str = "sample") -> Graph:
    """The same graph with its sampler run again, while ComfyUI keeps what it has cached of the nodes before."""
    entry = graph[sampler]
    again = node("FastCacheToySameLatent", latent=entry["inputs"]["latent_image"], run=next(_fresh))
    return {**graph, "again": again, sampler: {**entry, "inputs": {**entry["inputs"], "latent_image": ["again", 0]}}}


def forget(server: ComfyServer) -> None:
    """Make ComfyUI drop cached node outputs and unload models, so that the next graph really runs."""
    server.post("/free", {"unload_models": True, "free_memory": True})


def bypassed(graph: Graph) -> Graph:
    """What the frontend queues when the FastCache nodes are bypassed: their inputs go where their outputs went."""
    ours = {name: entry["inputs"] for name, entry in graph.items() if entry["class_type"] == "FastCache"}
    others = ("FastCachePreview", "FastCacheBlockCache", "FastCacheTokenSelector")
    plain = {name: entry for name, entry in copy.deepcopy(graph).items() if entry["class_type"] not in others}
    for entry in plain.values():
        for name, value in entry["inputs"].items():
            while isinstance(value, list) and value[0] in ours:
                value = ours[value[0]]["model"]
            entry["inputs"][name] = value
    return {name: entry for name, entry in plain.items() if name not in ours}


def with_widgets(graph: Graph, **changes: Any) -> Graph:
    """The same graph with other values on its FastCache node."""
    entry = graph["fastcache"]
    return {**graph, "fastcache": {**entry, "inputs": entry["inputs"] | changes}}


def pictures(latents: np.ndarray) -> np.ndarray:
    return np.clip(latents / 2 + 0.5, 0, 1)


def quality(latents: np.ndarray, reference: np.ndarray) -> float:
    """Mean over images of the PSNR in dB."""
    pairs = zip(pictures(latents), pictures(reference), strict=True)
    return float(np.mean([psnr(a, b) for a, b in pairs]))


def skips_and_stays_close(
    server: ComfyServer, graph: Graph, decibels: float, fraction: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """Assert that FastCache leaves out work and stays close to the graph without it; latents without and with it."""
    reference, _ = sample(server, bypassed(graph))
    cached, report = sample(server, graph)
    assert report["computed_fraction"] <= fraction, report["notes"]
    assert quality(cached, reference) >= decibels
    return reference, cached


def gets_along(
    server: ComfyServer, graph: Graph, decibels: float, fraction: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """Assert as well that nothing changes at all while FastCache is at work but skips nothing."""
    reference, cached = skips_and_stays_close(server, graph, decibels, fraction)
    idle, report = sample(server, with_widgets(graph, block_threshold=1e-6))
    assert report["computed_fraction"] == 1
    assert np.array_equal(idle, reference)
    return reference, cached
