"""The default, as it comes, against what it is measured against (docs/benchmarks.md): closer images for less work."""

from __future__ import annotations

import math

import pytest

from demo.graphs import demo_graph, node

from .graphs import DEFAULTS, quality, refined, sample

SEEDS = (911, 912)
THRESHOLD = 0.14  # half of the work, about
AHEAD = 1.0  # dB, at least
# strength: at which each computes at least as much as the default here, so that it has the advantage.
RIVALS = {"DiCache": 0.25, "EasyCache": 0.05, "First-Block Cache": 0.15, "FORA": 2, "TaylorSeer": 2}
MODEL_OUTPUT = {
    "rule": "interval",
    "interval": 2,
    "level": "model_output",
    "predictor": "extrapolate",
    "corrector": False,
}


def preset(seed, method, strength):
    graph = demo_graph(seed, fastcache=DEFAULTS)
    graph["preset"] = node("FastCachePreset", method=method, strength=strength)
    graph["fastcache"]["inputs"] |= {"block_cache": ["preset", 0], "token_selector": ["preset", 1]}
    return graph


@pytest.fixture(scope="module")
def references(server):
    return [sample(server, demo_graph(seed))[0] for seed in SEEDS]


@pytest.fixture(scope="module")
def ours(server, references):
    """(work, dB) of the default."""
    settings = DEFAULTS | {"block_threshold": THRESHOLD}
    return measured(server, references, [demo_graph(seed, fastcache=settings) for seed in SEEDS])


def measured(server, references, graphs):
    runs = [sample(server, graph) for graph in graphs]
    work = sum(report["computed_fraction"] for _, report in runs) / len(runs)
    pairs = zip(runs, references, strict=True)
    return work, sum(quality(latents, reference) for (latents, _), reference in pairs) / len(runs)


@pytest.mark.parametrize(("method", "strength"), RIVALS.items())
def test_published_methods_are_behind_with_more_work(server, references, ours, method, strength):
    work, decibels = measured(server, references, [preset(seed, method, strength) for seed in SEEDS])
    print(f"\n{method}: {work:.0%} of the work, {decibels:.1f} dB; FastCache: {ours[0]:.0%}, {ours[1]:.1f} dB")
    assert ours[0] <= work + 0.01
    assert ours[1] >= decibels + AHEAD


def test_extrapolating_the_models_output_is_behind_with_more_work(server, references, ours):
    graphs = [refined(demo_graph(seed, fastcache=DEFAULTS), MODEL_OUTPUT) for seed in SEEDS]
    work, decibels = measured(server, references, graphs)
    assert ours[0] <= work + 0.01
    assert ours[1] >= decibels + AHEAD


def test_fewer_steps_for_the_same_work_are_behind(server, references, ours):
    steps = round(20 * ours[0])
    shorter = [sample(server, demo_graph(seed, steps=steps))[0] for seed in SEEDS]
    decibels = sum(map(quality, shorter, references)) / len(SEEDS)
    assert ours[1] >= decibels + 3 * AHEAD


@pytest.mark.parametrize(("shift", "ahead"), [(3.0, AHEAD), (6.0, -AHEAD / 2)])
def test_where_a_schedule_begins_with_short_steps_a_shorter_warm_up_is_closer_for_less_work(server, shift, ahead):
    """Shifted, as those of Flux, Qwen-Image and Wan are."""
    references = [sample(server, demo_graph(seed, shift=shift))[0] for seed in SEEDS]
    settings = DEFAULTS | {"block_threshold": 0.2}
    plain = [demo_graph(seed, fastcache=settings, shift=shift) for seed in SEEDS]
    (work, decibels), (more, rival) = (
        measured(server, references, [refined(graph, cache) for graph in plain])
        for cache in (None, {"warmup_evaluations": 3, "threshold": 0.2})
    )
    print(f"\nshift {shift:g}: {work:.0%} of the work, {decibels:.1f} dB; warm-up of three: {more:.0%}, {rival:.1f} dB")
    assert work <= more + 0.01 and decibels >= rival + ahead


@pytest.mark.parametrize("steps", [8, 12, 20])
def test_fewer_steps_are_behind_whatever_the_threshold_allows(server, steps):
    references = [sample(server, demo_graph(seed, steps))[0] for seed in SEEDS]
    settings = DEFAULTS | {"block_threshold": 10.0}
    graphs = [demo_graph(seed, steps, fastcache=settings) for seed in SEEDS]
    work, decibels = measured(server, references, graphs)
    fewer = math.ceil(steps * work)
    shorter = [sample(server, demo_graph(seed, fewer))[0] for seed in SEEDS]
    behind = sum(map(quality, shorter, references)) / len(SEEDS)
    print(f"\n{steps} steps: {work:.0%} of the work, {decibels:.1f} dB; {fewer} steps: {behind:.1f} dB")
    assert work < 0.8
    assert decibels >= behind + 3 * AHEAD
