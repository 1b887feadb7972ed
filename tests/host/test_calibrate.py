"""Calibration in a real ComfyUI: calibrate, save, load, use; interrupts, errors, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from demo.graphs import Graph, node
from fastcache_core.profile import Profile
from hosting.comfy_server import ComfyServer
from hosting.process import ComfyError

from .graphs import DEFAULTS, graph, quality, sample, toy_graph
from .test_unknown_models import unknown_graph

STEPS, RUNS = 6, 2
PROMPTS = ("red trousers",)
MASK = "mask"


def calibration(graph: Graph, runs: int = RUNS, target_speedup: float = 2.0, **changes: Any) -> Graph:
    """The nodes of a graph that come before its sampler, and a calibration with that sampler's settings."""
    settings = graph["sample"]["inputs"] | {"model": graph.get("fastcache", graph["sample"])["inputs"]["model"]}
    others = {key: entry for key, entry in graph.items() if key not in SAMPLED}
    calibrate = node("FastCacheCalibrate", runs=runs, target_speedup=target_speedup, **(settings | changes))
    return {**others, "calibrate": calibrate, "summary": node("PreviewAny", source=["calibrate", 1])}


SAMPLED = ("fastcache", "preview", "map", "sample", "decode", "save")


def small(**options: Any) -> Graph:
    """The demo's graph with few steps and images."""
    return graph(**{"steps": STEPS, "prompts": PROMPTS, **options})


def saved(graph: Graph, name: str) -> Graph:
    return {**graph, "keep": node("FastCacheSaveProfile", profile=["calibrate", 0], name=name, overwrite=True)}


def profile(server: ComfyServer, graph: Graph, name: str) -> Profile:
    """What calibration makes of a graph."""
    server.run(saved(graph, name))
    return Profile.load(server.base / f"models/fastcache/{name}.safetensors")


def failing(graph: Graph, call: int, failure: str = "interrupt") -> Graph:
    """The same graph with a block that fails at one of its calls."""
    before = graph["calibrate"]["inputs"]["model"]
    fail = node("FastCacheToyFailOnce", model=before, blocks="double_block", index=0, failure=failure, call=call)
    calibrate = {**graph["calibrate"], "inputs": graph["calibrate"]["inputs"] | {"model": ["fail", 0]}}
    return {**graph, "fail": fail, "calibrate": calibrate}


def test_calibrated_saved_loaded_and_used(server):
    """The way it is meant to be used, for other prompts and seeds."""
    learned = profile(server, calibration(small(seed=5)), "learned")
    assert learned.family == "hunyuan_video" and learned.width == 128 and len(learned.blocks) == 16
    told = {"model": "HunyuanImage21", "sampler": "euler", "scheduler": "simple", "steps": STEPS, "cfg": 3.0}
    told |= {"denoise": 1.0, "latent": "1 x 3 x 32 x 32", "runs": RUNS, "target_speedup": 2.0, "name": "learned"}
    assert told.items() <= learned.made_for.items()
    other = {"seed": 77, "prompts": ("green coat",)}
    reference, _ = sample(server, small(**other))
    used = small(fastcache={}, **other)
    used["profile"] = node("FastCacheLoadProfile", name="learned.safetensors")
    used["fastcache"]["inputs"]["profile"] = ["profile", 0]
    latents, report = sample(server, used)
    assert report["run"]["rule"] == "schedule" and report["run"]["profile"] == learned.made_for
    assert report["notes"] == ["The profile 'learned' is used: its schedule and linear maps."]
    assert 0.4 <= report["computed_fraction"] <= 0.6
    assert quality(latents, reference) > 20  # of six evaluations, three


def test_it_is_used_without_being_saved_and_nothing_is_left_of_it(server):
    before, _ = sample(server, small(seed=6))
    used = {**calibration(small(seed=6)), **small(seed=6, fastcache={})}
    used["fastcache"]["inputs"]["profile"] = ["calibrate", 0]
    _, report = sample(server, used)
    assert report["notes"] == ["The profile, which was not saved, is used: its schedule and linear maps."]
    again = small(seed=6)
    again["sample"]["inputs"]["denoise"] = 0.9999999  # another input, so that the sampler runs again
    after, _ = sample(server, again)
    assert np.array_equal(after, before)


def test_what_was_interrupted_continues_and_learns_the_same(server):
    learned = profile(server, calibration(small(seed=11)), "whole")
    again = failing(calibration(small(seed=11)), call=10**9)  # never, but it is another model, which begins anew
    reference, _ = sample(server, small(seed=11))
    prompt = server.queue(again)
    assert server.events.wait_for(lambda event: reached(event, prompt, STEPS + 2), timeout=60)
    server.post("/interrupt")
    with pytest.raises(ComfyError, match="interrupted"):
        server.wait(prompt)
    plain = small(seed=11)
    plain["sample"]["inputs"]["denoise"] = 0.9999999  # another input, so that the sampler runs again
    after, _ = sample(server, plain)
    assert np.array_equal(after, reference)
    continues_as(server, again, learned)


def reached(event: dict[str, Any], prompt: str, steps: int) -> bool:
    """Whether a calibration has come so far."""
    data = event["data"]
    ours = event["type"] == "progress" and data["prompt_id"] == prompt and data["node"] == "calibrate"
    return ours and data["value"] >= steps


def continues_as(server: ComfyServer, graph: Graph, learned: Profile) -> None:
    """Assert that what was stopped in its second run or later goes on, and learns what it would have."""
    before = len(server.log())
    continued = profile(server, graph, "continued")
    assert re.search(r"continues after [1-9]\d* of \d+ runs", server.log()[before:])
    assert continued.schedule == learned.schedule and continued.scores == learned.scores


def test_what_failed_continues_and_learns_the_same(server):
    learned = profile(server, calibration(small(seed=12)), "whole")
    broken = failing(calibration(small(seed=12)), call=STEPS + 3, failure="error")
    with pytest.raises(ComfyError, match="toy failure"):
        server.run(broken)
    continues_as(server, broken, learned)


def test_other_inputs_begin_anew(server):
    broken = failing(calibration(small(seed=13)), call=3)
    with pytest.raises(ComfyError):
        server.run(broken)
    before = len(server.log())
    other = {**broken["calibrate"], "inputs": broken["calibrate"]["inputs"] | {"cfg": 2.0}}
    server.run({**broken, "calibrate": other})
    assert "inputs have changed" in server.log()[before:] and "continues after" not in server.log()[before:]


def test_progress_goes_over_all_runs_and_their_steps(server):
    prompt = server.queue(calibration(small(seed=14)))
    server.wait(prompt)
    told = [event["data"] for event in server.events.all("progress") if event["data"]["prompt_id"] == prompt]
    parts = [data["value"] / data["max"] for data in told if data["node"] == "calibrate"]
    assert len(parts) >= RUNS * STEPS and parts == sorted(parts) and parts[-1] == 1


def test_fastcache_before_it_is_removed(server):
    twice = calibration(small(seed=15))
    twice["first"] = node("FastCache", model=["shift", 0], **(DEFAULTS | {"block_threshold": 5.0}))
    plain = profile(server, twice, "plain")
    twice["calibrate"]["inputs"]["model"] = ["first", 0]
    assert profile(server, twice, "removed").scores == plain.scores
    assert "already has FastCache; calibration samples without it" in server.log()


def test_masks_and_denoise_count(server):
    masked = calibration(small(seed=16), denoise=0.6)
    masked["whole"] = node("SolidMask", value=1.0, width=32, height=32)
    masked[MASK] = node("SetLatentNoiseMask", samples=["latent", 0], mask=["whole", 0])
    masked["calibrate"]["inputs"]["latent_image"] = [MASK, 0]
    assert max(profile(server, masked, "masked").schedule.sigmas) == pytest.approx(0.6, abs=0.05)


def test_areas_of_different_size_are_no_obstacle(server):
    areas = calibration(small(seed=17))
    areas["left"] = node("ConditioningSetAreaPercentage", conditioning=["positive", 0], width=0.5, height=1.0, x=0.0,
                         y=0.0, strength=1.0)  # fmt: skip
    areas["both"] = node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["left", 0])
    areas["calibrate"]["inputs"]["positive"] = ["both", 0]
    assert profile(server, areas, "areas").schedule.work < 0.7


def test_a_toy_of_another_family(server):
    learned = profile(server, calibration(toy_graph("flux", steps=STEPS)), "toy")
    assert learned.family == "flux" and learned.schedule is not None


def test_attention_and_mlps_are_recorded_where_they_can_be_reached(server):
    learned = profile(server, calibration(toy_graph("wan", steps=STEPS)), "parts")
    assert {"attention 0", "cross_attention 0", "mlp 0"} <= set(learned.parts)
    assert learned.part_changes.shape[:2] == (len(learned.parts), STEPS)


def test_a_u_net_is_refused(server):
    with pytest.raises(ComfyError, match="cannot be calibrated: FastCache neither knows it nor finds blocks"):
        server.run(calibration(toy_graph("unet")))


def test_too_few_steps_are_refused_after_one_run_and_again(server):
    before = len(server.log())
    for _ in range(2):  # what was recorded is of no use, and is not gone on with
        with pytest.raises(ComfyError, match="A run has 4 evaluations, but it takes 6 to skip any; sample with more"):
            server.run(calibration(small(steps=4), runs=8))
    told = server.log()[before:]
    assert told.count("run 1 of at most") == 2 and "run 2 of" not in told and "continues" not in told


def test_the_log_speaks_of_calibration_only(server):
    """Its runs are none whose skips anybody wants to hear about."""
    before = len(server.log())
    server.run(calibration(small(seed=18)))
    told = [line for line in server.log()[before:].splitlines() if "FastCache" in line]
    assert told and all("FastCache Calibrate: " in line for line in told)
    assert "MB of system memory" in told[0] and "final latents differ by" in told[-1]


def test_runs_that_took_other_steps_are_told_of(server):
    told = server.run(calibration(small(seed=19, sampler_name="dpm_adaptive"), runs=3))["outputs"]["summary"]["text"][0]
    assert "A run took other steps than the first one and was not used." in told


@pytest.mark.parametrize("kind", ["one stream", "two streams", "in place", "tupled", "on a grid"])
def test_an_unknown_transformer_is_calibrated_from_its_first_evaluation(server, kind):
    learned = profile(server, calibration(unknown_graph(kind)), "unknown")
    assert learned.family == "unknown" and len(learned.schedule.sigmas) == 12
    used = unknown_graph(kind, {})
    used["profile"] = node("FastCacheLoadProfile", name="unknown.safetensors")
    used["fastcache"]["inputs"]["profile"] = ["profile", 0]
    _, report = sample(server, used)
    assert any("'unknown' is used: its schedule" in note for note in report["notes"])
    assert not any("carried over" in note for note in report["notes"])
    assert report["computed_fraction"] < 0.7


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("growing", "they are left alone"),
        ("packed", "they are left alone"),
        ("two lists", "lists of blocks see different"),
    ],
)
def test_blocks_that_cannot_be_followed_end_calibration_after_one_run_and_it_says_why(server, kind, why):
    before = len(server.log())
    with pytest.raises(ComfyError, match=f"Nothing .*{why}"):
        server.run(calibration(unknown_graph(kind)))
    assert "run 2 of" not in server.log()[before:]
