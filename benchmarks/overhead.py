"""What FastCache costs on models of real sizes with random weights: `python3 dev.py bench --device cuda|cpu`.

Of every size: how much longer a run takes with everything on and nothing skipped, how often the host waits for the
device in an evaluation, how near the speed-up comes to one over the work that is computed, what a predicted block takes
of a computed one's time, and what is kept. Times are medians of paired runs, by CUDA's events on a GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
import torch

from .in_process import PACK, start
from .sizes import SIZES, Model, Size, build

WORKS = (0.5, 0.35)  # of all evaluations, the part that is computed
OF_DEVICE = {"cuda": "flux-1024,wan-480p", "cpu": "narrow"}
LEAST_STEPS = 8
HEADINGS = ("model", "blocks", "everything on, nothing skipped", "synchronisations per evaluation",
            *(f"achieved / ideal at {work:g} (outside of blocks)" for work in WORKS), "predicted / computed block",
            "cache, stack", "cache, block")  # fmt: skip


@dataclass
class Speed:
    """At one work fraction: how much faster a run was, one over the work that the report tells of, and the time outside
    of computed blocks, as a part of the uncached run's."""

    work: float
    achieved: float
    ideal: float
    outside: float

    @property
    def part(self) -> float:
        return self.achieved / self.ideal


@dataclass
class Row:
    """What was measured of one size. Seconds of an uncached run; overhead: by how much a run is longer with everything
    on and nothing skipped; predicted: time of a predicted over that of a computed block; bytes at two levels."""

    size: str
    blocks: int
    seconds: float
    overhead: float
    synchronisations: float
    speeds: list[Speed]
    predicted: float
    stack_bytes: int
    block_bytes: int

    def cells(self) -> str:
        speeds = (f"{speed.part:.1%} ({speed.outside:.1%})" for speed in self.speeds)
        cells = (
            self.size,
            str(self.blocks),
            f"{self.overhead:+.1%}",
            f"{self.synchronisations:.2f}",
            *speeds,
            f"{self.predicted:.1%}",
            megabytes(self.stack_bytes),
            megabytes(self.block_bytes),
        )
        return f"| {' | '.join(cells)} |"


def megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MB"


def table(rows: Sequence[Row]) -> str:
    return "\n".join([f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|", *(row.cells() for row in rows)])


class Clock:
    """Seconds that work takes on a device: CUDA's events there, and the host's clock elsewhere."""

    def __init__(self, device: str):
        self.cuda = device == "cuda"

    def now(self) -> Any:
        """A moment, which on a GPU comes when everything before it was done."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, earlier: Any, later: Any) -> float:
        """Seconds; the host waits for the later moment."""
        if not self.cuda:
            return later - earlier
        later.synchronize()
        return earlier.elapsed_time(later) / 1000

    def of(self, work: Callable[[], Any]) -> float:
        begun = self.now()
        work()
        return self.between(begun, self.now())


class Watched:
    """A model with FastCache, whose runs can be looked into. blocks: whether moments are taken around every block."""

    def __init__(self, host: ModuleType, model: Model, config: Any, profile: Any = None, blocks: Clock | None = None):
        self.patcher, self.clock = host.apply_fastcache(model.patcher, config, profile=profile, tells=False), blocks
        self.host, self.session, self.moments = host, None, []
        sampling = self.patcher.get_wrappers(host.WrappersMP.OUTER_SAMPLE, host.KEY)[-1]
        opened = sampling._open

        def opening(*args: Any) -> Any:
            self.session, self.moments = opened(*args), []
            if self.clock is not None:
                self._time_blocks(self.session.run)
            return self.session

        sampling._open = opening

    def _time_blocks(self, run: Any) -> None:
        run_block = run.run_block

        def timed(call: Any) -> Any:
            begun, evaluation = self.clock.now(), len(run.report.evaluations) - 1
            streams = run_block(call)
            self.moments.append((evaluation, call.index, begun, self.clock.now()))
            return streams

        run.run_block = timed

    @property
    def report(self) -> dict[str, Any]:
        return self.host.last_report(self.patcher)

    @property
    def synchronisations(self) -> float:
        """Of an evaluation."""
        return self.session.run.decider.synchronisations / len(self.session.run.report.evaluations)

    def block_seconds(self) -> tuple[list[float], list[float]]:
        """Of every block call that computed, and that predicted."""
        computed = self.report["computed"]
        seconds: tuple[list[float], list[float]] = ([], [])
        for evaluation, block, begun, ended in self.moments:
            seconds[computed[evaluation][block] == 0].append(self.clock.between(begun, ended))
        return seconds


class Overhead:
    """Measures one model. steps: of every run; pairs: of runs that are compared."""

    def __init__(self, host: ModuleType, name: str, size: Size, device: str, steps: int, pairs: int):
        self.host, self.name, self.size, self.steps, self.pairs = host, name, size, steps, pairs
        self.clock, self.model = Clock(device), build(size, device)
        self.config = sys.modules[f"{PACK}.fastcache_core.config"]

    def sample(self, patcher: Any, seed: int) -> None:
        import comfy.sample

        model = self.model
        noise = torch.randn(model.latent.shape, generator=torch.Generator().manual_seed(seed))
        comfy.sample.sample(patcher, noise, self.steps, self.size.cfg, "euler", "simple", model.positive,
                            model.negative, model.latent, disable_pbar=True, seed=seed)  # fmt: skip

    def row(self) -> Row:
        everything = self.watched({"threshold": 1e-6}, {"threshold": 1e-9})
        self.sample(self.model.patcher, 0)  # loads the model, and fills caches
        self.sample(everything.patcher, 0)
        plain, full = self._paired(everything)
        profiles = [self._profile(everything.report, work) for work in WORKS]
        speeds = [self._speed(profile) for profile in profiles]
        blocks = self.watched({"rule": "schedule", "level": "block"}, {}, profiles[0], self.clock)
        self.sample(blocks.patcher, 0)
        computed, predicted = map(median, blocks.block_seconds())
        stack = self.watched({"rule": "schedule", "level": "stack"}, {}, profiles[0])
        self.sample(stack.patcher, 0)
        kept = [watched.report["cache_bytes_peak"] for watched in (stack, blocks)]
        overhead = median(b / a - 1 for a, b in zip(plain, full, strict=True))
        synchronisations = max(stack.synchronisations, blocks.synchronisations, everything.synchronisations)
        return Row(self.name, self.size.blocks, median(plain), overhead, synchronisations, speeds,
                   predicted / computed, *kept)  # fmt: skip

    def watched(self, block_cache: dict, token_selector: dict, profile: Any = None, clock: Clock | None = None):
        block_cache = {"min_steps": 1, **block_cache}
        config = self.config.FastCacheConfig(
            self.config.BlockCacheConfig(**block_cache), self.config.TokenSelectorConfig(**token_selector)
        )
        return Watched(self.host, self.model, config, profile, clock)

    def _paired(self, watched: Watched) -> tuple[list[float], list[float]]:
        """Seconds of runs without FastCache and with it, of the same seeds, each first in turn."""
        plain, cached = [], []
        for seed in range(1, self.pairs + 1):
            both = [(self.model.patcher, plain), (watched.patcher, cached)]
            for patcher, seconds in both if seed % 2 else reversed(both):
                seconds.append(self.clock.of(lambda patcher=patcher, seed=seed: self.sample(patcher, seed)))
        return plain, cached

    def _profile(self, report: dict[str, Any], work: float) -> Any:
        """A profile that has so much of the evaluations computed, whole, the first two and the last among them."""
        profile, schedule = (sys.modules[f"{PACK}.fastcache_core.{name}"] for name in ("profile", "schedule"))
        sigmas = report["run"]["sigmas"]
        evaluations = len(sigmas)
        count = max(3, round(work * evaluations))
        computed = {0, *np.linspace(1, evaluations - 1, count - 1).round().astype(int).tolist()}
        rows = [[int(i in computed)] * len(report["blocks"]) for i in range(evaluations)]
        return profile.Profile("any", 1, list(report["blocks"]), schedule=schedule.Schedule(sigmas, rows))

    def _speed(self, profile: Any) -> Speed:
        watched = self.watched({"rule": "schedule"}, {}, profile)
        self.sample(watched.patcher, 0)
        plain, cached = self._paired(watched)
        achieved, work = median(a / b for a, b in zip(plain, cached, strict=True)), watched.report["computed_fraction"]
        # uncached = blocks + outside; cached = work * blocks + outside
        part = 1 / achieved
        return Speed(work, achieved, 1 / work, (part - work) / (1 - work))


def machine(device: str) -> str:
    """What it ran on, in words."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}, bfloat16"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32"


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", choices=list(OF_DEVICE), required=True)
    parser.add_argument("--sizes", metavar="A,B", help=f"of: {', '.join(SIZES)}")
    parser.add_argument("--depth", type=float, default=1.0, metavar="PART", help="of the blocks, such as 0.1")
    parser.add_argument("--steps", type=int, default=20, metavar="N")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="runs that are compared, of each kind")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the numbers as JSON, too")
    given = parser.parse_args(arguments)
    given.sizes = (given.sizes or OF_DEVICE[given.device]).split(",")
    unknown = [name for name in given.sizes if name not in SIZES]
    if unknown:
        parser.error(f"there is no size {', '.join(unknown)}; there are: {', '.join(SIZES)}")
    if not 0 < given.depth <= 1:
        parser.error(f"--depth is {given.depth:g}, but it must be above 0 and at most 1")
    if given.steps < LEAST_STEPS or given.pairs < 1:
        parser.error(f"it takes {LEAST_STEPS} steps and a pair of runs at least")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; try --device cpu")
    return given


def main(arguments: Sequence[str]) -> int:
    """Measure and print a table; the exit code. FASTCACHE_COMFYUI names a ComfyUI, as dev.py sets it."""
    given = options(arguments)
    host = start(Path(os.environ["FASTCACHE_COMFYUI"]), given.device)
    rows = []
    with torch.inference_mode():
        for name in given.sizes:
            rows.append(Overhead(host, name, SIZES[name].of_depth(given.depth), given.device, given.steps,
                                 given.pairs).row())  # fmt: skip
            print(rows[-1].cells(), file=sys.stderr, flush=True)
            free()
    print(f"{machine(given.device)}; {given.steps} steps, {given.pairs} pairs\n\n{table(rows)}", flush=True)
    if given.out is not None:
        told = {"machine": machine(given.device), "rows": [asdict(row) for row in rows]}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 0


def free() -> None:
    """Let go of the last model."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    gc.collect()
    comfy.model_management.soft_empty_cache()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
