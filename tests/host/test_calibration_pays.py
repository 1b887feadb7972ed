"""What calibration is worth on the trained model: closer images for the same work, for prompts and seeds it never saw.

Prints what it measures: pytest -s.
"""

from __future__ import annotations

import time

import pytest

from demo.graphs import demo_graph, node

from .graphs import DEFAULTS, quality, refined, sample
from .test_calibrate import calibration

LEARNED = ("red t-shirt", "blue trousers", "green pullover", "yellow dress")
UNSEEN = ("magenta coat", "cyan sneaker", "orange bag", "white boot", "cyan dress", "orange pullover")
SEEDS = (901, 902, 903, 904)
RUNS, STEPS = 16, 20
SECONDS = 180


def sampled(server, fastcache=None, load=None, block_cache=None, **sampler):
    """Latents of every seed, and the reports."""
    found = []
    for seed in SEEDS:
        graph = demo_graph(seed, fastcache=fastcache, prompts=UNSEEN, **sampler)
        if block_cache:
            graph = refined(graph, block_cache)
        if load:
            graph["profile"] = node("FastCacheLoadProfile", name=load)
            graph["fastcache"]["inputs"]["profile"] = ["profile", 0]
        found.append(sample(server, graph))
    return found


def decibels(runs, references):
    pairs = zip(runs, references, strict=True)
    return sum(quality(latents, reference) for (latents, _), (reference, _) in pairs) / len(runs)


def work(runs):
    return sum(report["computed_fraction"] for _, report in runs) / len(runs)


@pytest.fixture(scope="module")
def references(server):
    return sampled(server)


@pytest.fixture(scope="module")
def uncalibrated(server, references):
    """(work, dB) of the default at several thresholds, with as many skips in a row as it likes."""
    thresholds = (0.1, 0.14, 0.2, 0.3, 0.5, 1.0, 2.0)  # those below cost more than any profile here
    runs = [sampled(server, DEFAULTS | {"block_threshold": t, "max_consecutive_skips": 8}) for t in thresholds]
    return [(work(run), decibels(run, references)) for run in runs]


@pytest.mark.parametrize(("target", "gain"), [(0.5, 0.5), (0.4, 1.5), (0.35, None)])
def test_a_profile_is_closer_for_the_same_work(server, references, uncalibrated, target, gain):
    """The less is computed, the more it matters where; what costs less than the profile counts as a rival as well.

    Without a gain no threshold makes so little be computed: rows of predicted evaluations grow by doubling.
    """
    name = f"pays {target:g}"
    graph = calibration(demo_graph(1, prompts=LEARNED), runs=RUNS, target_speedup=round(1 / target, 2))
    begun = time.perf_counter()
    server.run({**graph, "keep": node("FastCacheSaveProfile", profile=["calibrate", 0], name=name, overwrite=True)})
    seconds = time.perf_counter() - begun
    runs = sampled(server, DEFAULTS, load=f"{name}.safetensors")
    calibrated = decibels(runs, references)
    rivals = [db for part, db in uncalibrated if part <= work(runs) + 0.015]
    shorter = decibels(sampled(server, steps=round(target * STEPS)), references)
    told = f"{calibrated:.1f} dB, calibrated in {seconds:.0f} s"
    against = f"uncalibrated {max(rivals):.1f} dB" if rivals else "no threshold goes so low"
    print(f"\n{work(runs):.0%} of the work: {told}; {against}; fewer steps {shorter:.1f} dB")
    assert work(runs) <= target + 0.01
    assert bool(rivals) == (gain is not None)
    assert gain is None or calibrated >= max(rivals) + gain
    assert calibrated >= shorter + 3
    assert seconds < SECONDS


def test_other_steps_and_another_sampler_are_told_of_and_worth_it(server):
    """The profile of 20 steps of euler, from the test before, in 30 steps of dpmpp_2m."""
    sampler = {"steps": 30, "sampler_name": "dpmpp_2m"}
    references = sampled(server, **sampler)
    runs = sampled(server, DEFAULTS, load="pays 0.5.safetensors", **sampler)
    every_other = {"rule": "interval", "interval": 2, "predictor": "reuse", "corrector": False}  # FORA
    plain = sampled(server, DEFAULTS, block_cache=every_other, **sampler)
    for _, report in runs:
        assert any("is carried over by sigma to these 30 steps" in note for note in report["notes"])
    told = [f"{work(run):.0%} of the work, {decibels(run, references):.1f} dB" for run in (runs, plain)]
    print(f"\ncarried over: {told[0]}; every other evaluation reused: {told[1]}")
    assert work(runs) == pytest.approx(0.5, abs=0.06)
    assert decibels(runs, references) > decibels(plain, references)
