"""Every kind of sampler, schedule and noise on the demo's model, against plain steps of the same sampler.

One cell is a sampler, a scheduler, a shift, a guidance scale, a way to tell the noise, and a threshold. FastCache's
pictures and those of as few plain steps as cost at least the same work are compared with the whole run's, twelve
pictures each, in the mean and in the worst. A cell is lost where FastCache is behind in either. Not all combinations
are sampled, but every pair of values of two settings is.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from demo.graphs import PROMPTS, TRAINING_PROMPTS
from fastcache_core.metrics import psnr

from .host import ROOT
from .in_process import start

SAMPLERS = (
    "euler", "heun", "dpmpp_2m", "deis", "ipndm", "res_multistep", "uni_pc", "lms", "gradient_estimation", "er_sde",
    "euler_ancestral",
)  # fmt: skip
THRESHOLDS = (0.05, 0.1, 0.2, 0.4)
FLOW = {
    "told": ("flow",),
    "sampler": SAMPLERS,
    "scheduler": ("simple", "beta", "karras"),
    "shift": (1.0, 3.0, 6.0),
    "cfg": (1.0, 3.0, 7.0),
    "threshold": THRESHOLDS,
}
# The same network as others tell it: (lowest, highest) sigma of picture plus noise.
WIDE = {"sd": (0.029, 14.6), "cosmos": (0.002, 80.0), "v": (0.03, 500.0)}
WIDE_GRID = {
    "told": tuple(WIDE),
    "sampler": SAMPLERS,
    "scheduler": ("karras", "exponential"),
    "shift": (1.0,),
    "cfg": (1.0, 3.0, 7.0),
    "threshold": THRESHOLDS,
}
PICTURES = (*PROMPTS, *TRAINING_PROMPTS[:4])
STEPS, SEED, SMALL = 20, 1, 1e-3
BAR = 0.5  # dB by which a cell may be lost


class Cell(NamedTuple):
    told: str
    sampler: str
    scheduler: str
    shift: float
    cfg: float
    threshold: float


class Measured(NamedTuple):
    """work: part of the whole run's. ours, plain: dB, (mean, worst); steps: of the plain run. None where all was
    computed."""

    work: float
    mask: str
    ours: tuple[float, float] | None
    plain: tuple[float, float] | None
    steps: int | None
    notes: list[str]

    @property
    def lead(self) -> float | None:
        """dB by which FastCache is ahead, in the mean or the worst, whichever is less."""
        return None if self.ours is None else min(a - b for a, b in zip(self.ours, self.plain, strict=True))


def pairwise(grid: Mapping[str, Sequence[Any]], seed: int = 0) -> list[Cell]:
    """Few cells in which every pair of values of two settings occurs; always the same."""
    chance, names = random.Random(seed), list(grid)
    missing = {(a, x, b, y) for a, b in itertools.combinations(names, 2) for x in grid[a] for y in grid[b]}
    cells = []
    while missing:
        tries = [{name: chance.choice(grid[name]) for name in names} for _ in range(200)]
        a, x, b, y = min(missing, key=str)  # one that is left, so that this ends
        tries = [{**one, a: x, b: y} for one in tries]
        best = max(tries, key=lambda one: len(pairs_of(one) & missing))
        missing -= pairs_of(best)
        cells.append(Cell(**best))
    return sorted(cells)


def pairs_of(cell: Mapping[str, Any]) -> set[tuple]:
    return {(a, cell[a], b, cell[b]) for a, b in itertools.combinations(cell, 2)}


class Ground:
    """The demo's model in this process, sampled any way."""

    def __init__(self, tree: Path, pictures: Sequence[str] = PICTURES, steps: int = STEPS):
        self.host = start(tree, "cpu")
        self.steps, self.pictures = steps, pictures
        import comfy.sample
        import comfy.samplers
        import comfy.sd
        import comfy.utils
        import torch

        from demo.comfy_nodes import parse_prompt, read_table

        comfy.utils.set_progress_bar_enabled(False)
        self.comfy, self.torch = comfy, torch
        model = ROOT / "demo" / "model"
        self.model = comfy.sd.load_diffusion_model(str(model / "fastcache_demo_dit.safetensors"))
        table, words, none = read_table(str(model / "fastcache_demo_words.safetensors"))
        rows = [parse_prompt(line, words, none) for line in pictures]
        self.positive = [[table[torch.tensor(rows)], {"pooled_output": None}]]
        self.negative = [[table[torch.tensor([none])], {"pooled_output": None}]]
        self._kept: dict[tuple, Any] = {}

    def told(self, cell: Cell) -> Any:
        """The model, its noise told as the cell says."""
        sampling = self.comfy.model_sampling
        if cell.told == "flow":
            kind = type("Told", (sampling.ModelSamplingDiscreteFlow, sampling.CONST), {})
            made = kind(None)
            made.set_parameters(shift=cell.shift, multiplier=1000)
        else:
            # The network sees the time that it was trained with, 0 to 1000.
            timestep = {"timestep": lambda self, sigma: sigma / (sigma + 1) * 1000}
            kind = type("Told", (sampling.ModelSamplingCosmosRFlow, sampling.COSMOS_RFLOW), timestep)
            made = kind(None)
            made.set_parameters(*WIDE[cell.told], 1.0)
        patched = self.model.clone()
        patched.add_object_patch("model_sampling", made)
        return patched

    def sample(self, model: Any, cell: Cell, steps: int, seed: int = SEED) -> np.ndarray:
        """The pictures [samples, ...], 0 to 1 and beyond, by the sampler and schedule of the cell."""
        sampling = model.get_model_object("model_sampling")
        sigmas = self.comfy.samplers.calculate_sigmas(sampling, cell.scheduler, steps)
        latents = self.torch.full((len(self.pictures), 3, 32, 32), -1.0)
        noise = self.comfy.sample.prepare_noise(latents, seed)
        sampler = self.comfy.samplers.sampler_object(cell.sampler)
        with self.torch.no_grad():
            made = self.comfy.sample.sample_custom(
                model, noise, cell.cfg, sampler, sigmas, self.positive, self.negative, latents, disable_pbar=True,
                seed=seed,
            )  # fmt: skip
        return made.numpy() / 2 + 0.5

    def plain(self, cell: Cell, steps: int) -> np.ndarray:
        """Without FastCache; kept, as other thresholds ask for the same."""
        key = (*cell._replace(threshold=0.0), steps)
        if key not in self._kept:
            self._kept[key] = self.sample(self.told(cell), cell, steps)
        return self._kept[key]

    def cached(self, model: Any, threshold: float) -> Any:
        """The model with FastCache at this threshold, and all else as it comes."""
        settings = self.host.FastCacheConfig()
        block_cache = dataclasses.replace(settings.block_cache, threshold=threshold)
        return self.host.apply_fastcache(model, dataclasses.replace(settings, block_cache=block_cache), tells=False)

    def measure(self, cell: Cell) -> Measured:
        whole = self.plain(cell, self.steps)
        model = self.cached(self.told(cell), cell.threshold)
        ours = self.sample(model, cell, self.steps)
        report = self.host.last_report(model)
        work, mask = report["computed_fraction"], "".join(f"{row[0]:.0f}" for row in report["computed"])
        if work > 1 - SMALL:
            return Measured(work, mask, None, None, None, report["notes"])
        evaluations = len(report["computed"])
        each = evaluations / self.steps  # a step; the last one of samplers that look twice looks once
        steps = next(
            n for n in range(2, self.steps + 1) if round(each * n - (each > 1.5)) >= work * evaluations - SMALL
        )
        plain = self.plain(cell, steps)
        return Measured(work, mask, closeness(ours, whole), closeness(plain, whole), steps, report["notes"])


def closeness(pictures: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """PSNR in dB, (mean, worst)."""
    found = [psnr(np.clip(a, 0, 1), np.clip(b, 0, 1)) for a, b in zip(pictures, whole, strict=True)]
    return float(np.mean(found)), float(min(found))


def table(results: Sequence[tuple[Cell, Measured]]) -> str:
    """All cells as a table; lost ones are marked."""
    lines = [
        "| told as | sampler | scheduler | shift | cfg | threshold | work | FastCache, dB (worst) | plain steps | dB "
        "(worst) | lead |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell, found in results:
        start = (
            f"| {cell.told} | {cell.sampler} | {cell.scheduler} | {cell.shift:g} | {cell.cfg:g} | {cell.threshold:g} | "
        )
        if found.lead is None:
            lines.append(f"{start}100 % | the same | {STEPS} | | 0 |")
            continue
        lost = " **lost**" if found.lead < 0 else ""
        (ours, worst), (plain, least) = found.ours, found.plain
        lines.append(
            f"{start}{found.work:.0%} | {ours:.1f} ({worst:.1f}) | {found.steps} | {plain:.1f} ({least:.1f}) | "
            f"{found.lead:+.1f}{lost} |"
        )
    return "\n".join(lines)


def summary(results: Sequence[tuple[Cell, Measured]]) -> str:
    """How many cells were won, in a sentence or two."""
    leads = [found.lead for _, found in results if found.lead is not None]
    lost = [lead for lead in leads if lead < 0]
    means = [found.ours[0] - found.plain[0] for _, found in results if found.lead is not None]
    return (
        f"{len(results)} cells; in {len(results) - len(leads)} of them everything was computed. Of the other "
        f"{len(leads)}, {len(lost)} are lost, {sum(lead < -BAR for lead in lost)} of them by more than {BAR} dB. "
        f"The mean is ahead of plain steps by {np.mean(means) if means else 0:.1f} dB on average."
    )


def cells_of(which: Sequence[str]) -> Iterator[Cell]:
    for name in which:
        yield from pairwise({"flow": FLOW, "wide": WIDE_GRID}[name])


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench --samplers", description=__doc__.split("\n\n")[0])
    parser.add_argument("--grid", nargs="+", default=["flow", "wide"], choices=["flow", "wide"])
    parser.add_argument("--out", type=Path, default=ROOT / "out", metavar="DIR", help="default: out")
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    chosen = parser.parse_args(given)
    ground, results, begun = Ground(Path(os.environ["FASTCACHE_COMFYUI"])), [], time.perf_counter()
    cells = list(cells_of(chosen.grid))
    for number, cell in enumerate(cells, 1):
        found = ground.measure(cell)
        results.append((cell, found))
        lead = "all computed" if found.lead is None else f"{found.lead:+.1f} dB"
        passed = time.perf_counter() - begun
        print(f"{number} of {len(cells)}, {passed:.0f} s: {tuple(cell)} {found.work:.0%} {found.mask} {found.ours} "
              f"{found.plain} {lead}", file=sys.stderr, flush=True)  # fmt: skip
    chosen.out.mkdir(parents=True, exist_ok=True)
    kept = [{**cell._asdict(), **found._asdict(), "lead": found.lead} for cell, found in results]
    (chosen.out / "samplers.json").write_text(json.dumps(kept, indent=1), encoding="utf-8")
    print(table(results), summary(results), sep="\n\n")
    if not chosen.no_write:
        from . import document

        document.write(ROOT / "docs" / "benchmarks.md", {"samplers": f"{summary(results)}\n\n{table(results)}"})
    return 0
