"""FastCache in a real ComfyUI, on the demo model: what is skipped, what it costs, that nothing stays behind."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from demo.graphs import demo_graph, node
from hosting.comfy_server import ComfyServer
from hosting.process import ComfyError

from .graphs import DEFAULTS, PROMPTS, forget, graph, quality, sample


def test_widget_defaults_are_the_documented_ones(server):
    inputs = server.object_info()["FastCache"]["input"]["required"]
    assert {name: spec[1]["default"] for name, spec in inputs.items() if "default" in spec[1]} == DEFAULTS
    assert all(spec[1].get("tooltip") for spec in inputs.values())


def test_default_settings_skip_work_and_stay_close(server):
    reference, _ = sample(server, demo_graph(7))
    cached, report = sample(server, demo_graph(7, fastcache=DEFAULTS))
    shorter, _ = sample(server, demo_graph(7, steps=round(20 * report["computed_fraction"])))
    assert report["run"]["family"] == "hunyuan_video" and report["run"]["level"] == "model_output"
    assert len(report["blocks"]) == 16 and report["tokens"]["grid"] == [1, 8, 8]
    assert report["run"]["sampler_evaluations"] == 20
    assert report["run"]["branches"] == ["cond", "uncond"]
    assert report["computed_fraction"] <= 0.6
    assert np.mean(report["computed"]) == pytest.approx(report["computed_fraction"], abs=1e-3)
    assert report["run"]["corrections"] > 0
    assert quality(cached, reference) >= 43
    assert quality(cached, reference) >= quality(shorter, reference) + 6


def test_thresholds_at_zero_are_bit_identical_to_no_node(server):
    reference, _ = sample(server, graph())
    forget(server)
    off, report = sample(server, graph(fastcache={"block_threshold": 0.0, "token_threshold": 0.0}))
    assert np.array_equal(off, reference)
    assert report["computed"] == [] and report["computed_fraction"] == 1
    assert "Switched off" in report["notes"][0]


def test_engine_that_skips_nothing_is_bit_identical_to_no_node(server):
    reference, _ = sample(server, graph())
    idle, report = sample(server, graph(fastcache={"block_threshold": 1e-6}))
    assert np.array_equal(idle, reference)
    assert report["notes"][0].startswith("Nothing was skipped; smallest expected error seen 0.")
    assert report["notes"][0] in server.log()


def test_bypassed_after_a_cached_run_nothing_is_left(server):
    before, _ = sample(server, graph(seed=11))
    cached, report = sample(server, graph(seed=11, fastcache={}))
    assert report["computed_fraction"] < 1 and not np.array_equal(cached, before)
    # Ctrl+B on the node: the frontend connects its model input to what follows, as in a graph without it.
    without_cache = graph(seed=11)
    without_cache["sample"]["inputs"]["denoise"] = 0.9999999  # another input, so that the sampler runs again
    after, _ = sample(server, without_cache)
    assert np.array_equal(after, before)


def test_every_queued_run_skips_again(server):
    fractions = [sample(server, graph(seed=seed, fastcache={}))[1]["computed_fraction"] for seed in (21, 22, 23)]
    assert max(fractions) < 0.75


def test_token_selector_computes_some_tokens_and_keeps_close(server):
    reference, _ = sample(server, graph())
    cached, report = sample(server, graph(fastcache={"block_threshold": 0.0, "token_threshold": 0.01}))
    computed = np.array(report["computed"])
    assert report["run"]["level"] == "stack"
    assert ((computed > 0) & (computed < 1)).any()
    assert report["computed_fraction"] < 0.9
    assert report["tokens"]["grid"] == [1, 8, 8] and report["tokens"]["samples"] == len(PROMPTS)
    assert quality(cached, reference) > 35


@pytest.mark.parametrize(
    ("sampler", "evaluations"), [("heun", 39), ("dpm_2", 39), ("dpmpp_2m", 20), ("uni_pc", 20), ("exp_heun_2_x0", 39)]
)
def test_samplers_of_every_kind(server, sampler, evaluations):
    require_sampler(server, sampler)
    reference, _ = sample(server, graph(sampler_name=sampler))
    cached, report = sample(server, graph(fastcache={}, sampler_name=sampler))
    assert abs(report["run"]["sampler_evaluations"] - evaluations) <= 1
    assert report["computed"][-1] == [1] * 16
    assert report["computed_fraction"] <= 0.85
    assert quality(cached, reference) > 30


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_sde", "seeds_2"])
def test_samplers_that_add_noise_stay_close(server, sampler):
    require_sampler(server, sampler)
    reference, _ = sample(server, graph(sampler_name=sampler))
    cached, report = sample(server, graph(fastcache={}, sampler_name=sampler))
    assert quality(cached, reference) > 33
    if report["computed_fraction"] == 1:
        assert report["notes"][0].startswith("Nothing was skipped; smallest expected error seen")


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "lcm"])
def test_the_level_by_default_is_the_whole_model(server, sampler):
    _, report = sample(server, graph(fastcache={}, sampler_name=sampler, steps=10))
    assert report["run"]["level"] == "model_output"


def require_sampler(server: ComfyServer, sampler: str) -> None:
    if sampler not in server.object_info()["KSampler"]["input"]["required"]["sampler_name"][0]:
        pytest.skip(f"this ComfyUI has no sampler {sampler}")


def test_areas_of_different_size_sample_together(server):
    areas = graph(fastcache={})
    areas["left"] = node("ConditioningSetAreaPercentage", conditioning=["positive", 0], width=0.5, height=1.0, x=0.0,
                         y=0.0, strength=1.0)  # fmt: skip
    areas["both"] = node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["left", 0])
    areas["sample"]["inputs"]["positive"] = ["both", 0]
    plain = {key: value for key, value in areas.items() if key not in ("fastcache", "preview")}
    plain["sample"] = node("KSampler", **(areas["sample"]["inputs"] | {"model": ["shift", 0]}))
    reference, _ = sample(server, plain)
    cached, report = sample(server, areas)
    assert report["computed_fraction"] < 0.9
    # Here one area is computed while the other is predicted, evaluation after evaluation.
    assert quality(cached, reference) > 40


def test_an_extra_guidance_pass_with_the_same_conditioning(server):
    """Skip-layer guidance calls the model once more for the same conditioning, with blocks replaced."""
    guided = graph(fastcache={})
    guided["slg"] = node("SkipLayerGuidanceDiT", model=["fastcache", 0], double_layers="1", single_layers="0,5",
                         scale=2.0, start_percent=0.1, end_percent=0.9, rescaling_scale=0.0)  # fmt: skip
    guided["sample"]["inputs"]["model"] = ["slg", 0]
    plain = {key: value for key, value in guided.items() if key not in ("fastcache", "preview")}
    plain["slg"] = node("SkipLayerGuidanceDiT", **(guided["slg"]["inputs"] | {"model": ["shift", 0]}))
    reference, _ = sample(server, plain)
    unguided, _ = sample(server, graph())
    cached, report = sample(server, guided)
    assert report["computed_fraction"] < 0.9
    assert quality(cached, reference) > max(25, quality(unguided, reference) + 3)


def test_without_guidance_there_is_one_branch(server):
    _, report = sample(server, graph(fastcache={}, cfg=1.0))
    assert report["run"]["branches"] == ["cond"]
    assert report["computed_fraction"] < 0.75


def test_two_samplers_of_different_size_and_length_share_one_patched_model(server):
    both = graph(fastcache={})
    both["canvas 2"] = node("EmptyImage", width=48, height=32, batch_size=1, color=0)
    both["latent 2"] = node("VAEEncode", pixels=["canvas 2", 0], vae=["vae", 0])
    second = {**both["sample"]["inputs"], "latent_image": ["latent 2", 0], "steps": 14, "positive": ["one", 0]}
    both["one"] = node("FastCacheDemoPrompt", prompts="red bag")
    both["sample 2"] = node("KSampler", **second)
    both["preview"]["inputs"]["after_sample"] = ["sample 2", 0]
    both["save 2"] = node("SaveLatent", samples=["sample 2", 0], filename_prefix="second")
    before = len(server.log())
    sample(server, both)
    assert sorted(re.findall(r"skipped in \d+ of (\d+) evaluations", server.log()[before:])) == ["14", "20"]


def test_the_last_of_two_nodes_in_a_row_counts(server):
    twice = graph(fastcache={})
    twice["first"] = node("FastCache", model=["shift", 0], **(DEFAULTS | {"block_threshold": 5.0}))
    twice["fastcache"]["inputs"]["model"] = ["first", 0]
    once, _ = sample(server, graph(fastcache={}))
    got, report = sample(server, twice)
    assert np.array_equal(got, once)
    assert report["run"]["block_threshold"] == 0.1
    assert "settings of the last node count" in server.log()


def test_offloaded_cache_gives_the_same_result(server):
    main, _ = sample(server, graph(fastcache={}))
    offloaded, _ = sample(server, graph(fastcache={"cache_device": "offload"}))
    assert np.array_equal(main, offloaded)


def test_start_and_end_percent_leave_the_ends_alone(server):
    _, report = sample(server, graph(fastcache={"start_percent": 0.3, "end_percent": 0.7}))
    skipped = [i for i, row in enumerate(report["computed"]) if row[0] == 0]
    assert skipped and all(0.3 <= 1 - report["run"]["sigmas"][i] <= 0.7 for i in skipped)


def test_four_steps_are_left_alone_with_a_reason(server):
    reference, _ = sample(server, graph(steps=4))
    cached, report = sample(server, graph(fastcache={}, steps=4))
    assert np.array_equal(cached, reference)
    assert "4 steps are too few" in report["reason_texts"][0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"start_percent": 1.5}, "start_percent is 1.5, but it must lie between 0 and 1"),
        ({"start_percent": 0.8, "end_percent": 0.2}, "must be below end_percent"),
        ({"block_threshold": float("nan")}, "block_threshold is nan"),
        ({"block_threshold": -1}, "block_threshold is -1"),
        ({"max_consecutive_skips": 0}, "max_consecutive_skips is 0"),
        ({"cache_device": "disk"}, "cache_device"),
    ],
)
def test_invalid_widget_values_are_refused_before_sampling(server, change, sentence):
    with pytest.raises(ComfyError, match=".") as refusal:
        sample(server, graph(fastcache=change))
    assert sentence in str(refusal.value)


def test_a_connected_invalid_value_is_refused_too(server):
    connected = graph(fastcache={})
    connected["number"] = node("PrimitiveFloat", value=-3.0)
    connected["fastcache"]["inputs"]["block_threshold"] = ["number", 0]
    with pytest.raises(ComfyError, match="block_threshold is -3"):
        sample(server, connected)


def test_the_string_output_is_the_report(server):
    shown = graph(fastcache={})
    shown["text"] = node("PreviewAny", source=["preview", 1])
    outputs = server.run(shown)["outputs"]
    assert json.loads(outputs["text"]["text"][0]) == outputs["preview"]["fastcache_report"][0]
