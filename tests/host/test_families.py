"""Toy models of the supported families, and one that is not supported, in a real ComfyUI."""

from __future__ import annotations

import numpy as np
import pytest

from demo.graphs import Graph, node

from .graphs import sample, toy_graph

FLUX_BLOCKS = [*(f"double {i}" for i in range(2)), *(f"single {i}" for i in range(3))]
BLOCKS = {
    "flux": FLUX_BLOCKS,
    "chroma": FLUX_BLOCKS,
    "qwen_image": [f"double {i}" for i in range(5)],
    "lumina": [f"layer {i}" for i in range(5)],
    "sd3": [f"double {i}" for i in range(5)],
    "wan": [f"double {i}" for i in range(5)],
}


@pytest.mark.parametrize("family", BLOCKS)
def test_a_supported_family_skips_blocks_and_is_exact_when_it_does_not(server, family):
    reference, _ = sample(server, toy_graph(family))
    idle, report = sample(server, toy_graph(family, {"block_threshold": 1e-6}))
    assert np.array_equal(idle, reference)
    assert report["run"]["family"] == family
    assert report["blocks"] == BLOCKS[family]
    assert report["tokens"]["grid"] == ([1, 1, 262] if family == "lumina" else [1, 16, 16])
    _, report = sample(server, toy_graph(family, {"block_threshold": 10.0}))
    assert report["computed_fraction"] < 0.7


def repeat_graph(family: str, evaluations: int, fastcache: dict) -> Graph:
    """The toy graph with a sampler that evaluates the same input again and again from the third time on."""
    graph = toy_graph(family, fastcache)
    inputs = graph["sample"]["inputs"]
    kept = {name: inputs[name] for name in ("model", "positive", "negative", "latent_image", "cfg")}
    graph["again"] = node("FastCacheToyRepeatSampler", evaluations=evaluations)
    graph["sigmas"] = node("BasicScheduler", model=inputs["model"], scheduler="simple", steps=12, denoise=1.0)
    graph["sample"] = node(
        "SamplerCustom", **kept, add_noise=True, noise_seed=5, sampler=["again", 0], sigmas=["sigmas", 0]
    )
    return graph


@pytest.mark.parametrize("family", ["flux", "chroma", "hunyuan_video"])
@pytest.mark.parametrize(
    ("settings", "action"),
    [
        ({"block_threshold": 10.0}, "predicted: expected error within 10"),
        ({"block_threshold": 0.0, "token_threshold": 0.01}, "partial: only tokens"),
    ],
)
def test_on_identical_input_prediction_and_partial_computing_equal_computing(server, family, settings, action):
    computed, _ = sample(server, repeat_graph(family, 3, settings))
    again, report = sample(server, repeat_graph(family, 6, settings))
    assert all(report["reason_texts"][i].startswith(action) for i in report["reasons"][5])
    assert max(report["computed"][5]) < 0.1
    np.testing.assert_allclose(again, computed, rtol=1e-4, atol=1e-4 * np.abs(computed).max())


@pytest.mark.parametrize("family", ["flux", "chroma"])
def test_tokens_are_selected_with_keys_and_values_of_all(server, family):
    reference, _ = sample(server, toy_graph(family))
    everything, report = sample(server, toy_graph(family, {"block_threshold": 0.0, "token_threshold": 1e-9}))
    assert np.array_equal(everything, reference)
    some, report = sample(server, toy_graph(family, {"block_threshold": 0.0, "token_threshold": 0.02}))
    assert 0.2 < report["computed_fraction"] < 1, report["notes"]
    assert np.isfinite(some).all()


@pytest.mark.parametrize("family", ["lumina", "qwen_image", "sd3", "wan"])
def test_families_without_token_selection_say_why_and_go_on(server, family):
    reference, _ = sample(server, toy_graph(family))
    latents, report = sample(server, toy_graph(family, {"block_threshold": 0.0, "token_threshold": 0.02}))
    assert np.array_equal(latents, reference)
    assert report["notes"][0].startswith("Tokens are not selected: ")


def test_an_unsupported_model_runs_unpatched_and_says_so(server):
    reference, _ = sample(server, toy_graph("unet"))
    cached, report = sample(server, toy_graph("unet", {}))
    assert np.array_equal(cached, reference)
    assert report["run"]["family"] is None and report["computed"] == []
    sentence = "UNetModel is not a supported model; it runs without FastCache."
    assert report["notes"] == [sentence]
    assert sentence in server.log()
