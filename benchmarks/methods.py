"""Sample the demo's images with every preset in a real ComfyUI, and write the table of docs/methods.md.

Run it through `python3 dev.py bench`, which sets everything up. Each method's knob is turned until about half of the
work is computed, so that rows can be compared; what simply fewer steps give for the same work stands beside it.
Profiles are made by FastCache Calibrate from prompts and seeds that are not measured with.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from demo.demo import SEEDS, Sampled, node_defaults, quality, sample  # noqa: E402
from demo.graphs import CFG, STEPS, Graph, demo_graph, node  # noqa: E402
from fastcache_core.presets import PRESETS  # noqa: E402
from hosting.comfy_server import ComfyServer  # noqa: E402
from hosting.process import ComfyError  # noqa: E402

DOCUMENT, MARKER = ROOT / "docs" / "methods.md", "<!-- numbers -->"
PROFILE = "methods_benchmark"
CALIBRATION_PROMPTS = ("blue dress", "red bag", "green coat", "cyan trousers", "white t-shirt", "orange pullover",
                       "magenta boot", "yellow sneaker")  # fmt: skip
CALIBRATION_SEED, RUNS = 1000, 16
WORK = 0.5
HALVINGS = 6  # of the range of a threshold
LOWEST, HIGHEST = 1e-3, 10.0


@dataclass
class Row:
    """One method with its knob: work, mean and smallest PSNR in dB, and the PSNR of fewer steps at that work."""

    method: str
    knob: str
    work: float
    decibels: float
    worst: float
    fewer: float

    def cells(self) -> str:
        gain = self.decibels - self.fewer
        return (
            f"| {self.method} | {self.knob} | {self.work:.0%} | {self.decibels:.1f} dB | "
            f"{self.worst:.1f} dB | {self.fewer:.1f} dB | {gain:+.1f} dB |"
        )


class Bench:
    """What is measured against: the uncached images, and those of fewer steps."""

    def __init__(self, server: ComfyServer):
        self.server = server
        self.settings = node_defaults(server, "FastCache")
        self.references = [sample(server, demo_graph(seed)) for seed in SEEDS]
        self.fewer_steps = cache(self._fewer_steps)

    def _fewer_steps(self, steps: int) -> float:
        return quality([sample(self.server, demo_graph(seed, steps=steps)) for seed in SEEDS], self.references)[0]

    def fewer(self, work: float) -> float:
        """PSNR of as many steps as the work pays for, on the line between whole numbers."""
        steps = max(1.0, work * STEPS)
        low = min(int(steps), STEPS - 1)
        if low + 1 == STEPS:
            return self.fewer_steps(low)  # all steps are the reference itself
        part = steps - low
        return (1 - part) * self.fewer_steps(low) + part * self.fewer_steps(low + 1)

    def graph(self, seed: int, method: str, strength: float) -> Graph:
        needs = PRESETS[method].needs or PRESETS[method].blocks.predictor == "linear"
        graph = self.calibrated(seed) if needs else demo_graph(seed, fastcache=self.settings)
        graph["preset"] = node("FastCachePreset", method=method, strength=strength)
        graph["fastcache"]["inputs"] |= {"block_cache": ["preset", 0], "token_selector": ["preset", 1]}
        return graph

    def calibrated(self, seed: int) -> Graph:
        """With a profile and nothing else."""
        graph = demo_graph(seed, fastcache=self.settings)
        graph["profile"] = node("FastCacheLoadProfile", name=f"{PROFILE}.safetensors")
        graph["fastcache"]["inputs"]["profile"] = ["profile", 0]
        return graph

    def work(self, run: Sampled) -> float:
        return run.outputs["preview"]["fastcache_report"][0]["computed_fraction"]

    def work_at(self, method: str, strength: float) -> float:
        """The part of the work that one seed, which is not measured with, needs."""
        return self.work(sample(self.server, self.graph(CALIBRATION_SEED, method, strength)))

    def row(self, method: str) -> Row:
        strength = strength_for(method, lambda strength: self.work_at(method, strength))
        knob = f"{PRESETS[method].knob.replace('_', ' ')} {strength:.3g}"
        return self._measured(method, knob, lambda seed: self.graph(seed, method, strength))

    def calibrated_row(self) -> Row:
        return self._measured("**FastCache with a profile**", f"target speedup {1 / WORK:g}", self.calibrated)

    def _measured(self, method: str, knob: str, graph_of: Callable[[int], Graph]) -> Row:
        runs = [sample(self.server, graph_of(seed)) for seed in SEEDS]
        work = mean(map(self.work, runs))
        return Row(method, knob, work, *quality(runs, self.references), self.fewer(work))


def strength_for(method: str, work_at: Callable[[float], float]) -> float:
    """The value of a method's knob at which its work is nearest to WORK."""
    preset = PRESETS[method]
    if preset.knob == "alpha":
        return preset.published
    if isinstance(preset.published, int):
        candidates = [(abs(work_at(value) - WORK), value) for value in range(1, 7)]
        return min(candidates)[1]
    low, high, tried = LOWEST, HIGHEST, []
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        work = work_at(middle)
        tried.append((abs(work - WORK), middle))
        low, high = (middle, high) if work > WORK else (low, middle)
    return min(tried)[1]


def calibrate(server: ComfyServer) -> None:
    """Make the profile, and keep it under its name."""
    graph = demo_graph(CALIBRATION_SEED, prompts=CALIBRATION_PROMPTS)
    kept = {name: graph[name] for name in ("load", "shift", "positive", "negative", "vae", "canvas", "latent")}
    inputs = {name: [name, 0] for name in ("positive", "negative")}
    settings = dict(seed=CALIBRATION_SEED, steps=STEPS, cfg=CFG, sampler_name="euler", scheduler="simple", denoise=1.0)
    calibration = node(
        "FastCacheCalibrate",
        model=["shift", 0],
        latent_image=["latent", 0],
        runs=RUNS,
        target_speedup=1 / WORK,
        **inputs,
        **settings,
    )
    keep = node("FastCacheSaveProfile", profile=["calibrate", 0], name=PROFILE, overwrite=True)
    server.run({**kept, "calibrate": calibration, "keep": keep})


def table(rows: list[Row]) -> str:
    head = (
        "| method | its knob | work | PSNR, mean | PSNR, least | fewer steps, same work | against fewer steps |\n"
        "|---|---|---|---|---|---|---|"
    )
    best_first = sorted(rows, key=lambda row: row.fewer - row.decibels)
    return "\n".join([head, *(row.cells() for row in best_first)])


def write(text: str) -> None:
    """Put a table between the markers of the document."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(MARKER)
    after = rest.partition(MARKER)[2]
    DOCUMENT.write_text(f"{before}{MARKER}\n{text}\n{MARKER}{after}", encoding="utf-8")


def main() -> None:
    try:
        with ComfyServer.from_environment() as server:
            print("Calibrating ...", flush=True)
            calibrate(server)
            bench = Bench(server)
            rows = [bench.calibrated_row()]
            for method, number in zip(PRESETS, itertools.count(1)):
                rows.append(bench.row(method))
                print(f"{number} of {len(PRESETS)}: {rows[-1].cells()}", flush=True)
                write(table(rows))
    except ComfyError as error:
        sys.exit(f"Benchmark: {error}")


if __name__ == "__main__":
    main()
