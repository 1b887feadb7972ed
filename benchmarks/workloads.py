"""What is sampled: the workloads by name, and how nodes are put in front of their sampler."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

from demo import edit, graphs, inpaint, references, video
from demo.graphs import Graph, node

TWICE = ("heun", "dpm_2")  # samplers that evaluate the model twice in a step
KEEP = "bench keep"  # the id of the node that keeps a profile
SAMPLE = "sample"  # the id of the KSampler that is measured, in every workload


@dataclass(frozen=True)
class Workload:
    """graph(seed=, prompts=, steps=, **sampler): the uncached graph. prompts are measured with, training_prompts tune
    and calibrate; frames: pictures a prompt."""

    name: str
    about: str
    graph: Callable[..., Graph]
    prompts: tuple[str, ...]
    training_prompts: tuple[str, ...]
    frames: int = 1


def of_module(name: str, about: str, module: ModuleType) -> Workload:
    """A workload that a module of the demo describes."""
    return Workload(name, about, module.graph, module.PROMPTS, module.TRAINING_PROMPTS, module.FRAMES)


T2I = Workload("t2i", "text to image, 8 pictures at once", graphs.demo_graph, graphs.PROMPTS, graphs.TRAINING_PROMPTS)
SHIFT = 3.0  # Stable Diffusion 3.5's, and nearly Flux's at a megapixel
SHIFTED = Workload(
    "shifted",
    f"text to image with sigmas shifted by {SHIFT:g}, as large models have them: short steps first, long ones last",
    partial(graphs.demo_graph, shift=SHIFT),
    graphs.PROMPTS,
    graphs.TRAINING_PROMPTS,
)
WORKLOADS: dict[str, Workload] = {
    "t2i": T2I,
    "shifted": SHIFTED,
    "inpaint": of_module("inpaint", "the right half of a picture is filled in, the left half is fixed", inpaint),
    "edit": of_module("edit", "a reference picture, whose tokens are in the sequence, is recoloured", edit),
    "references": of_module("references", "two reference pictures without noise, two thirds of the tokens", references),
    "video": of_module("video", "six frames of clothing that moves over a still background", video),
}


@dataclass(frozen=True)
class Setting:
    """A workload, its steps and its sampler: what all rows of a table have in common."""

    workload: Workload
    steps: int = graphs.STEPS
    sampler: str = "euler"

    @property
    def name(self) -> str:
        return f"{self.workload.name}, {self.steps} steps, {self.sampler}"

    @property
    def cost(self) -> float:
        """Evaluations of an uncached run, about."""
        return self.steps * (2 if self.sampler in TWICE else 1)

    def graph(self, seed: int, prompts: tuple[str, ...], **changes: Any) -> Graph:
        """The uncached graph; changes: other steps, another sampler_name."""
        return self.workload.graph(
            seed=seed, prompts=prompts, **({"steps": self.steps, "sampler_name": self.sampler} | changes)
        )

    def with_few(self, prompts: int) -> Setting:
        """The same with so many prompts at most."""
        few = replace(
            self.workload,
            prompts=self.workload.prompts[:prompts],
            training_prompts=self.workload.training_prompts[:prompts],
        )
        return replace(self, workload=few)


def patched(graph: Graph, patches: Sequence[Mapping[str, Any]], **others: Mapping[str, Any]) -> Graph:
    """The graph with nodes that patch the model in a chain before its sampler.

    patches: nodes from demo.graphs.node(), without their input `model`, the first one next to the model; their ids are
    `patch 1` and so on. others: nodes that these refer to, by their ids.
    """
    graph = copy.deepcopy(graph) | {name: dict(other) for name, other in others.items()}
    sampler = graph[SAMPLE]["inputs"]
    for number, patch in enumerate(patches, 1):
        graph[f"patch {number}"] = node(patch["class_type"], **{**patch["inputs"], "model": sampler["model"]})
        sampler["model"] = [f"patch {number}", 0]
    return graph


def before_sampling(graph: Graph) -> Graph:
    """The nodes that do not depend on the sampler."""
    after = {SAMPLE}
    while True:
        found = {name for name, part in graph.items() if name not in after and inputs_from(part) & after}
        if not found:
            return {name: copy.deepcopy(part) for name, part in graph.items() if name not in after}
        after |= found


def inputs_from(part: Mapping[str, Any]) -> set[str]:
    """Ids of the nodes that a node is connected to."""
    return {value[0] for value in part["inputs"].values() if isinstance(value, list)}


def calibration(setting: Setting, seed: int, runs: int, speedup: float, name: str) -> Graph:
    """A graph that learns a profile from the setting's training prompts and keeps it by name."""
    graph = setting.graph(seed, setting.workload.training_prompts)
    kept, sampler = before_sampling(graph), graph[SAMPLE]["inputs"]
    kept["bench calibrate"] = node("FastCacheCalibrate", **sampler, runs=runs, target_speedup=speedup)
    kept[KEEP] = node("FastCacheSaveProfile", profile=["bench calibrate", 0], name=name, overwrite=True)
    return kept
