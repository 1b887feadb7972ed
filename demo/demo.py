"""Sample the same images with and without FastCache in a real ComfyUI, and say what was skipped, gained and lost.

Run it through `python3 dev.py demo`, which sets everything up. Writes out/demo/baseline.png, fastcache.png,
skip_map.png, report.json. Runs are paired and take turns at being first, so that a noisy machine disturbs both sides
alike; the ratio is the median over pairs.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from demo.graphs import STEPS, demo_graph  # noqa: E402
from fastcache_core.metrics import psnr  # noqa: E402
from hosting.comfy_server import ComfyServer  # noqa: E402
from hosting.process import ComfyError  # noqa: E402

OUT = ROOT / "out" / "demo"
SEEDS = range(1, 6)


@dataclass
class Sampled:
    """One queued graph: images [n, 32, 32, 3] in 0..1, seconds that the KSampler node took, history outputs."""

    images: np.ndarray
    seconds: float
    outputs: dict[str, Any]


def sample(server: ComfyServer, graph: dict[str, Any]) -> Sampled:
    prompt_id = server.queue(graph)
    entry = server.wait(prompt_id)
    pictures = [server.image(reference).convert("RGB") for reference in entry["outputs"]["save"]["images"]]
    images = np.stack([np.asarray(picture, np.float32) / 255 for picture in pictures])
    return Sampled(images, server.node_seconds(prompt_id, "sample"), entry["outputs"])


def node_defaults(server: ComfyServer, node_id: str) -> dict[str, Any]:
    """The widgets' default values, as a user gets them who drags the node in."""
    inputs = server.object_info()[node_id]["input"]["required"]
    return {name: spec[1]["default"] for name, spec in inputs.items() if len(spec) > 1 and "default" in spec[1]}


def quality(runs: list[Sampled], references: list[Sampled]) -> tuple[float, float]:
    """Mean and smallest PSNR in dB over all images."""
    pairs = zip(runs, references, strict=True)
    values = [psnr(a, b) for run, ref in pairs for a, b in zip(run.images, ref.images, strict=True)]
    return mean(values), min(values)


def save_grid(runs: list[Sampled], path: Path, scale: int = 4) -> None:
    """One row a seed, one column a prompt, pixels enlarged without smoothing."""
    rows = [np.concatenate(list(run.images), axis=1) for run in runs]
    grid = Image.fromarray((np.concatenate(rows) * 255).round().astype(np.uint8))
    grid.resize((grid.width * scale, grid.height * scale), Image.Resampling.NEAREST).save(path)


def run_demo(server: ComfyServer) -> None:
    settings = node_defaults(server, "FastCache")
    print("Loading the model and warming up ...", flush=True)
    sample(server, demo_graph(seed=0, steps=2))
    baseline, fastcache = [], []
    for i, seed in enumerate(SEEDS, 1):
        sides = [(baseline, demo_graph(seed)), (fastcache, demo_graph(seed, fastcache=settings))]
        for runs, graph in sides if i % 2 else reversed(sides):
            runs.append(sample(server, graph))
        pair = f"{baseline[-1].seconds:.2f} s without, {fastcache[-1].seconds:.2f} s with FastCache"
        print(f"  pair {i} of {len(SEEDS)}: {pair}", flush=True)

    reports = [run.outputs["preview"]["fastcache_report"][0] for run in fastcache]
    computed = mean(report["computed_fraction"] for report in reports)
    fewer = math.ceil(STEPS * computed - 1e-9)
    print(f"Sampling with {fewer} instead of {STEPS} steps for comparison ...", flush=True)
    shorter = [sample(server, demo_graph(seed, steps=fewer)) for seed in SEEDS]

    OUT.mkdir(parents=True, exist_ok=True)
    save_grid(baseline, OUT / "baseline.png")
    save_grid(fastcache, OUT / "fastcache.png")
    server.image(fastcache[0].outputs["map"]["images"][0]).save(OUT / "skip_map.png")
    (OUT / "report.json").write_text(json.dumps(reports[0], indent=1))

    ratio = median(a.seconds / b.seconds for a, b in zip(baseline, fastcache, strict=True))
    (db, worst), (fewer_db, fewer_worst) = quality(fastcache, baseline), quality(shorter, baseline)
    print(
        f"\nFastCache: computed {computed:.0%} of block work, {ratio:.1f}x faster than without (measured), "
        f"PSNR {db:.1f} dB (min {worst:.1f})\n"
        f"Fewer steps for the same work: {fewer} of {STEPS}, PSNR {fewer_db:.1f} dB (min {fewer_worst:.1f}); "
        f"FastCache is {db - fewer_db:.1f} dB closer\n"
        f"Measured {ratio:.2f}x is {ratio * computed:.0%} of the ideal {1 / computed:.2f}x; "
        f"{len(SEEDS)} pairs, {len(SEEDS) * len(baseline[0].images)} images, settings {settings}\n"
        f"Pictures and report: {OUT.relative_to(ROOT)}/"
    )


def main() -> None:
    try:
        with ComfyServer.from_environment() as server:
            run_demo(server)
    except ComfyError as error:
        sys.exit(f"Demo: {error}")


if __name__ == "__main__":
    main()
