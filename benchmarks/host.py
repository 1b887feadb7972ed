"""One real ComfyUI for the benchmark: it samples metered graphs, and tells what a graph's result depends on."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors

from demo.graphs import Graph, node
from hosting.comfy_server import ComfyServer
from hosting.layout import link, prepare_base

from .workloads import SAMPLE, patched

ROOT = Path(__file__).resolve().parent.parent
NODES = "fastcache_bench_nodes"  # the folder in custom_nodes
PACK = "ComfyUI-FastCache"
SHIPPED = ("fastcache_core", "nodes", "__init__.py")  # of the pack, what sampling depends on
_runs = itertools.count()


@dataclass
class Sampled:
    """One run: pictures [n, height, width, 3] as bytes, latents [n, ...], seconds that KSampler took, floating-point
    operations of the model's blocks, FastCache's report or None."""

    images: np.ndarray
    latents: np.ndarray
    seconds: float
    operations: int
    report: dict[str, Any] | None


class Host:
    """A running ComfyUI with the pack, the demo's nodes and the benchmark's; at most one other pack."""

    def __init__(self, server: ComfyServer):
        self.server = server
        self.nodes = server.object_info()
        system = server.get("/system_stats")["system"]
        self.versions = {"comfyui": system["comfyui_version"], "torch": system["pytorch_version"]}
        self.fingerprint_of = cache(self._fingerprint_of)

    def defaults(self, class_type: str) -> dict[str, Any]:
        """The widgets' default values, as a user gets them who drags the node in."""
        inputs = self.nodes[class_type]["input"].get("required", {})
        return {name: default_of(spec) for name, spec in inputs.items() if default_of(spec) is not None}

    def sample(self, graph: Graph) -> Sampled:
        """Queue a workload's graph with a meter next to its sampler. It is sampled even if it was before."""
        prompt_id = self.server.queue(self.metered(graph))
        outputs = self.server.wait(prompt_id)["outputs"]
        pictures = [self.server.image(reference).convert("RGB") for reference in outputs["save"]["images"]]
        latents = load_tensors(self.server.process.fetch(view_of(outputs["bench latents"]["latents"][0])))
        reports = outputs.get("bench preview", {}).get("fastcache_report", [None])
        return Sampled(
            np.stack([np.asarray(picture) for picture in pictures]),
            latents["latent_tensor"],
            self.server.node_seconds(prompt_id, SAMPLE),
            json.loads(outputs["bench reading"]["text"][0]),
            reports[0],
        )

    def metered(self, graph: Graph) -> Graph:
        """With the nodes that measure."""
        graph = patched(graph, [])
        unique = f"{time.time_ns()} {next(_runs)}"
        graph["bench meter"] = node("FastCacheBenchMeter", model=graph[SAMPLE]["inputs"]["model"], run=unique)
        graph[SAMPLE]["inputs"]["model"] = ["bench meter", 0]
        after = {"after_sample": [SAMPLE, 0]}
        graph["bench reading"] = node("FastCacheBenchReading", model=["bench meter", 0], **after)
        graph["bench latents"] = node("SaveLatent", samples=[SAMPLE, 0], filename_prefix="latents/bench")
        if any(part["class_type"] == "FastCache" for part in graph.values()):
            graph["bench preview"] = node("FastCachePreview", model=["bench meter", 0], **after)
        return graph

    def key(self, graph: Graph, *others: Any) -> str:
        """Names a graph's result: the graph, what its nodes and files are made of, and versions."""
        modules = {self.nodes[part["class_type"]]["python_module"] for part in graph.values()}
        sources = [self.fingerprint_of(name) for name in sorted(modules) if name.startswith("custom_nodes.")]
        texts = {value for part in graph.values() for value in part["inputs"].values() if isinstance(value, str)}
        files = [fingerprint([path]) for path in self._models() if path.name in texts]
        whole = json.dumps([graph, sources, files, self.versions, others], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:24]

    def _models(self) -> list[Path]:
        return sorted(path for path in (self.server.base / "models").rglob("*") if path.is_file())

    def _fingerprint_of(self, module: str) -> str:
        folder = (self.server.base / "custom_nodes" / module.removeprefix("custom_nodes.")).resolve()
        parts = [folder / part for part in SHIPPED] if folder == ROOT else [folder]
        found = [path for part in parts for path in ([part] if part.is_file() else sorted(part.rglob("*.py")))]
        return fingerprint(found)


@contextmanager
def running(base: Path, pack: Path | None = None) -> Iterator[Host]:
    """A ComfyUI on a base folder of its own, with one other pack or none. What it drew is removed afterwards."""
    prepare_base(base, ROOT)
    link(ROOT / "benchmarks" / "comfy_nodes", base / "custom_nodes" / NODES)
    if pack is not None:
        link(pack, base / "custom_nodes" / pack.name)
    try:
        with ComfyServer.from_environment(base) as server:
            yield Host(server)
    finally:
        shutil.rmtree(base / "output", ignore_errors=True)


def default_of(spec: list[Any]) -> Any:
    """The default of an input as /object_info describes it; of a list of choices the first; None without one."""
    options = spec[1] if len(spec) > 1 else {}
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
    return options.get("default", choices[0] if choices else None)


def view_of(reference: dict[str, str]) -> str:
    """The path under which ComfyUI gives out a file of a node's output."""
    return "/view?" + "&".join(f"{name}={value}" for name, value in reference.items())


def fingerprint(paths: list[Path]) -> str:
    """Of what files contain."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
