"""What FastCache costs, on models of width 512: when it can skip nothing, and of the time that skipping saves."""

from __future__ import annotations

import numpy as np
import pytest

from demo.graphs import Graph, node
from fastcache_core.profile import Profile
from fastcache_core.schedule import Schedule
from hosting.comfy_server import ComfyServer

from .graphs import DEFAULTS, toy_graph
from .pairs import assert_at_most

EVERYTHING = {"block_threshold": 1e-6, "token_threshold": 1e-9}  # both on, neither ever skips
STEPS = 20
pytestmark = pytest.mark.alone


def seconds_and_report(server: ComfyServer, graph: Graph, seed: int) -> tuple[float, dict | None]:
    """Seconds of the sampler's node, and what FastCache reports, if it is in the graph."""
    graph["sample"]["inputs"]["seed"] = seed
    graph["keep"] = node("SaveLatent", samples=["sample", 0], filename_prefix="speed")
    prompt = server.queue(graph)
    told = server.wait(prompt)["outputs"].get("preview", {}).get("fastcache_report", [None])
    return server.node_seconds(prompt, "sample"), told[0]


def run(server, family: str, seed: int, fastcache: dict | None) -> tuple[float, float]:
    """Seconds of the sampler's node, and the share of the run that the engine says it took itself."""
    seconds, report = seconds_and_report(server, toy_graph(family, fastcache, steps=10), seed)
    assert (report is None) == (fastcache is None)
    if report is None:
        return seconds, 0.0
    assert report["computed_fraction"] == 1 and len(report["computed"]) == 10
    return seconds, report["seconds"]["overhead"] / report["seconds"]["total"]


@pytest.mark.parametrize("family", ["flux_wide", "lumina_wide"])  # by patches, and by forward
def test_with_everything_on_and_nothing_skipped_a_run_takes_at_most_two_percent_longer(server, family):
    run(server, family, 0, None)  # loads the model

    def longer_and_own_share(seed: int) -> list[float]:
        order = [None, DEFAULTS | EVERYTHING] if seed % 2 else [DEFAULTS | EVERYTHING, None]
        taken = {settings is None: run(server, family, seed, settings) for settings in order}
        return [taken[False][0] / taken[True][0] - 1, taken[False][1]]

    assert_at_most(0.02, longer_and_own_share)


def followed(server: ComfyServer, work: float) -> Graph:
    """FastCache following a profile by which this part of the evaluations is computed, and the others are predicted."""
    graph = toy_graph("flux_deep", DEFAULTS, steps=STEPS, cfg=1.0, batch=1)
    _, report = seconds_and_report(server, graph, 0)  # loads the model, and tells of its blocks and sigmas
    computed = {0, *np.linspace(1, STEPS - 1, round(work * STEPS) - 1).round().astype(int).tolist()}
    rows = [[int(i in computed)] * len(report["blocks"]) for i in range(STEPS)]
    schedule = Schedule(report["run"]["sigmas"], rows)
    folder, name = server.base / "models/fastcache", f"work {work:g}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    Profile("flux", 512, report["blocks"], schedule=schedule).save(folder / name)
    graph["profile"] = node("FastCacheLoadProfile", name=name)
    graph["fastcache"]["inputs"]["profile"] = ["profile", 0]
    return graph


@pytest.mark.parametrize("work", [0.5, 0.35])
def test_a_run_is_faster_by_at_least_92_percent_of_what_is_not_computed(server, work):
    """What is missing of the ideal speed-up, one over the work that is computed: at most 8 %."""
    cached = followed(server, work)
    plain = toy_graph("flux_deep", steps=STEPS, cfg=1.0, batch=1)

    def missing(seed: int) -> list[float]:
        taken = {}
        for graph in (plain, cached) if seed % 2 else (cached, plain):
            taken[graph is cached], report = seconds_and_report(server, graph, seed)
            assert report is None or report["computed_fraction"] == work, report["notes"]
        return [1 - taken[False] / taken[True] * work]

    assert_at_most(0.08, missing)
