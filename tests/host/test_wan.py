"""What only Wan's models do: their samplers, and what they add between blocks."""

from __future__ import annotations

import numpy as np
import pytest

from demo.graphs import Graph, node

from .graphs import refined, sample, toy_graph

ADDING = ["wan21_vace", "wan22_s2v", "wan22_animate", "wan22_dancer"]


@pytest.mark.parametrize("name", ADDING)
def test_where_something_is_added_between_blocks_they_are_predicted_one_by_one(server, missing, name):
    if name in missing:
        pytest.skip(missing[name])
    _, report = sample(server, refined(toy_graph(name, {}, references=True), {"level": "stack"}))
    assert "Blocks are predicted one by one: something adds to the hidden state between blocks." in report["notes"]


def frame_by_frame(fastcache: dict | None, level: str) -> Graph:
    graph = toy_graph("wan21_causal", fastcache)
    kept = {name: graph["sample"]["inputs"][name] for name in ("model", "positive", "negative", "latent_image")}
    graph["frames"] = node("SamplerARVideo", num_frame_per_block=1)
    graph["sigmas"] = node("BasicScheduler", model=kept["model"], scheduler="simple", steps=12, denoise=1.0)
    graph["sample"] = node(
        "SamplerCustom", **kept, cfg=1.0, add_noise=True, noise_seed=5, sampler=["frames", 0], sigmas=["sigmas", 0]
    )
    return refined(graph, {"threshold": 10.0, "level": level}) if fastcache is not None else graph


@pytest.mark.parametrize("level", ["stack", "model_output"])
def test_a_model_that_remembers_earlier_frames_is_left_alone(server, missing, level):
    if "wan21_causal" in missing:
        pytest.skip(missing["wan21_causal"])
    plain, _ = sample(server, frame_by_frame(None, level))
    cached, report = sample(server, frame_by_frame({}, level))
    assert np.array_equal(cached, plain)
    assert "remember earlier frames" in report["notes"][0]
