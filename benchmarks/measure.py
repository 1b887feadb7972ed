"""Measures rows at parts of the work: knobs are turned on training prompts, pictures are compared on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from demo.graphs import Graph
from hosting.process import ComfyError

from .host import Host, Sampled
from .rows import NONE, TARGET, UNCACHED, Number, Row, tuned
from .store import Record, Store
from .workloads import KEEP, SAMPLE, Setting, calibration

TRAINING_SEED, RUNS = 1000, 16
FIRST_SEED = 1
Tell = Callable[[str], None]


@dataclass
class Point:
    """A row at one value of its knob: keys of its measurements, one a seed."""

    row: str
    target: float
    value: Number
    keys: list[str] = field(default_factory=list)
    problem: str | None = None


class Bench:
    """All rows of one setting on one host. It is the `Context` of rows. points: where to put what is measured, if there
    are others of the same setting."""

    def __init__(
        self,
        host: Host,
        store: Store,
        setting: Setting,
        seeds: int,
        calibration_runs: int,
        tell: Tell,
        points: dict[tuple[str, float], Point] | None = None,
    ):
        self.host, self.store, self.setting, self.tell = host, store, setting, tell
        self.calibration_runs = calibration_runs
        self.seeds = range(FIRST_SEED, FIRST_SEED + seeds)
        self.prompts, self.training = setting.workload.prompts, setting.workload.training_prompts
        self.points = {} if points is None else points
        self.profile = cache(self._profile)
        self.defaults = host.defaults
        self._warm = False

    # What rows ask for:

    def _profile(self, target: float) -> str:
        graph = calibration(self.setting, TRAINING_SEED, self.calibration_runs, round(1 / target, 2), "bench")
        name = f"bench_{self.host.key(graph)}"
        known = self.host.nodes["FastCacheLoadProfile"]["input"]["required"]["name"]
        choices = known[0] if isinstance(known[0], list) else known[1]["options"]
        if f"{name}.safetensors" not in choices:
            self.tell(f"calibrating for {target:.0%} of the work")
            graph[KEEP]["inputs"]["name"] = name
            self.host.server.run(graph, timeout=3600)
        return f"{name}.safetensors"

    def evaluations(self, row: str, target: float, seed: int) -> list[float]:
        point = self.points.get((row, target))
        if point is None or point.problem:
            raise ComfyError(f"The row {row!r} was not measured, so there is no schedule to follow.")
        return self.store.document["measurements"][point.keys[self.seeds.index(seed)]]["evaluations"]

    # Measuring:

    def measure(self, row: Row, targets: Sequence[float]) -> list[Point]:
        """The row at each of these parts of the work; a row that fails says why and costs nothing else."""
        targets = (1.0,) if row.group == UNCACHED.group else targets[:1] if row.knob is NONE else targets
        points = [Point(row.name, target, 0) for target in targets]
        try:
            work_at = cache(lambda value: self.work_at(row, value))
            for point in points:
                self.tell(f"{row.name}: turning its knob for {point.target:.0%}")
                searched = row.knob not in (NONE, TARGET)
                point.value = tuned(row.knob, work_at, point.target) if searched else point.target
            for seed in self.seeds:
                self.tell(f"{row.name}: seed {seed} of {len(self.seeds)}")
                self._at_one_moment(row, points, seed)
        except ComfyError as error:
            return self.fail(row, targets, str(error).splitlines()[0])
        self.points |= {(row.name, point.target): point for point in points}
        return points

    def fail(self, row: Row, targets: Sequence[float], problem: str) -> list[Point]:
        """Keep for the table why a row could not be measured."""
        points = [Point(row.name, target, 0, problem=problem) for target in targets]
        self.points |= {(row.name, point.target): point for point in points}
        return points

    def _at_one_moment(self, row: Row, points: Sequence[Point], seed: int) -> None:
        """All values of the knob for one seed, next to an uncached run, which goes first at every other seed."""
        graphs = [row.graph(self, seed, self.prompts, point.value) for point in points]
        keys = [self.host.key(graph) for graph in graphs]
        for point, key in zip(points, keys, strict=True):
            point.keys.append(key)
        missing = {key: graph for key, graph in zip(keys, graphs, strict=True) if self.store.get(key, True) is None}
        if not missing:
            return
        plain = self.setting.graph(seed, self.prompts)
        self._warm_up(plain)
        order: list[tuple[str, Graph]] = [("", plain), *missing.items()]
        runs = {key: self.host.sample(graph) for key, graph in (order if seed % 2 else reversed(order))}
        uncached = runs.pop("")
        for key, run in runs.items():
            point = points[keys.index(key)]
            record = {"setting": self.setting.name, "row": row.name, "seed": seed, "value": point.value}
            record |= measured(run, uncached) | {"disturbed": self._disturbed(seed, uncached)}
            self.store.put(key, record, images=run.images, latents=run.latents)

    def _disturbed(self, seed: int, uncached: Sampled) -> bool:
        """Whether the uncached pictures beside a row are others than those of the first uncached run: something of
        what was sampled with, or is installed, has stayed behind."""
        reference = self.points.get((UNCACHED.name, 1.0))
        if reference is None or reference.problem:
            return False
        kept = self.store.arrays(reference.keys[self.seeds.index(seed)])
        return not np.array_equal(kept["images"], uncached.images)

    def work_at(self, row: Row, value: Number) -> float:
        """The part of the work that a row needs for the training prompts."""
        uncached = self._operations(self.setting.graph(TRAINING_SEED, self.training), UNCACHED.name, 0)
        graph = row.graph(self, TRAINING_SEED, self.training, value)
        return self._operations(graph, row.name, value) / uncached

    def _operations(self, graph: Graph, row: str, value: Number) -> int:
        key = self.host.key(graph, "operations")
        known = self.store.get(key, arrays=False)
        if known is None:
            known = {"setting": self.setting.name, "row": row, "value": value}
            known |= {"operations": self.host.sample(graph).operations}
            self.store.put(key, known)
        return known["operations"]

    def _warm_up(self, plain: Graph) -> None:
        """Have everything loaded before the first run that counts."""
        if not self._warm:
            changed = {**plain, SAMPLE: {**plain[SAMPLE], "inputs": {**plain[SAMPLE]["inputs"], "steps": 2}}}
            self.host.sample(changed)
            self._warm = True


def measured(run: Sampled, uncached: Sampled) -> Record:
    """Numbers of one run: work and seconds of the blocks and of the sampler, and of the uncached run beside it."""
    return {
        "work": run.operations / uncached.operations,
        "seconds": run.seconds,
        "uncached_seconds": uncached.seconds,
        **of_report(run.report),
    }


def of_report(report: dict[str, Any] | None) -> Record:
    """What FastCache says of its run."""
    if report is None:
        return {}
    weights = np.array(report["work"] or [1.0])
    computed = np.array(report["computed"]).reshape(-1, len(weights)) @ weights
    return {
        "evaluations": [round(float(part), 4) for part in computed / weights.sum()],
        "reported_work": report["computed_fraction"],
        "cache_bytes_peak": report["cache_bytes_peak"],
        "notes": report["notes"],
    }
