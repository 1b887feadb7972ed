"""The level `sublayer` with the families whose attention and MLP can be reached one by one, and with the others."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from demo.graphs import Graph, node
from fastcache_core.adapters import FAMILIES
from hosting.process import ComfyError

from .conformance import AT_REST, COMPUTED, EXACT, TOYS, off_by, repeat_graph
from .graphs import Report, afresh, bypassed, quality, refined, sample, sample_all, toy_graph
from .test_between_blocks import controlled
from .test_conformance import split_graph

APART = {family.name for family in FAMILIES if all(block_list.sublayers for block_list in family.lists)}
REACHED = [name for name, toy in TOYS.items() if toy.family in APART]
WITH_REFERENCES = ["wan21_vace", "wan22_animate", "qwen_image_timestep_zero", "krea2_clean_references", "hidream"]


def sublayered(graph: Graph, **block_cache: Any) -> Graph:
    return refined(graph, {"level": "sublayer", **block_cache})


def options_of(name: str, references: bool) -> dict[str, Any]:
    alone = TOYS[name].alone == "always" or (references and TOYS[name].alone == "references")
    return {"references": references} | ({"batch": 1, "cfg": 1.0} if alone else {})


@pytest.mark.parametrize(
    ("name", "references"), [(name, False) for name in REACHED] + [(name, True) for name in WITH_REFERENCES]
)
def test_sublayers_are_exact_and_left_as_they_were(server, missing, name, references):
    if name in missing:
        pytest.skip(missing[name])
    options = options_of(name, references)
    plain, _ = sample(server, toy_graph(name, **options))
    idle, report = sample(server, sublayered(toy_graph(name, {}, **options), threshold=1e-6))
    assert report["run"]["level"] == "sublayer", report["notes"]
    assert report["computed_fraction"] == 1
    assert np.array_equal(idle, plain)

    graph = sublayered(toy_graph(name, {}, **options), threshold=10.0)
    graph["forwards"] = node("FastCacheToyForwards", model=["toy", 0], after_sample=["sample", 0])
    _, outputs = sample_all(server, graph, ["sample"])
    report = outputs["preview"]["fastcache_report"][0]
    assert report["computed_fraction"] < 0.7, report["notes"]
    assert json.loads(outputs["forwards"]["text"][0]) == []
    assert not [note for note in report["notes"] if "left alone" in note]

    computed, _ = sample(server, repeat_graph(name, COMPUTED, **options))
    again, report = sample(server, sublayered(repeat_graph(name, AT_REST, {}, **options), threshold=10.0))
    assert max(report["computed"][-1]) == 0
    assert off_by(again, computed) <= EXACT


def last_computed(report: Report) -> float:
    return max(report["computed"][-1])


@pytest.mark.parametrize("name", ["lumina", "wan", "hunyuan3d_2_1"])
def test_a_conditioning_is_itself_when_its_batch_is_split(server, name):
    computed, _ = sample(server, split_graph(name))
    again, report = sample(server, sublayered(split_graph(name, {}), threshold=10.0))
    assert last_computed(report) == 0, report["notes"]
    assert off_by(again, computed) <= EXACT


def test_what_a_controlnet_adds_between_blocks_is_added_still(server):
    def graph(evaluations: int, fastcache: dict | None = None) -> Graph:
        return controlled(repeat_graph("qwen_image", evaluations, fastcache), "qwen_image")

    reference, _ = sample(server, controlled(toy_graph("qwen_image"), "qwen_image"))
    idle, _ = sample(server, sublayered(controlled(toy_graph("qwen_image", {}), "qwen_image"), threshold=1e-6))
    assert np.array_equal(idle, reference)
    computed, _ = sample(server, graph(COMPUTED))
    again, report = sample(server, sublayered(graph(AT_REST, {}), threshold=10.0))
    assert report["run"]["level"] == "sublayer" and last_computed(report) == 0, report["notes"]
    assert off_by(again, computed) <= EXACT


def test_where_sublayers_cannot_be_reached_whole_blocks_are_predicted_and_a_note_says_so(server):
    by_block, _ = sample(server, refined(toy_graph("flux", {}), {"rule": "interval", "level": "block"}))
    latents, report = sample(server, sublayered(toy_graph("flux", {}), rule="interval"))
    assert report["run"]["level"] == "block" and report["computed_fraction"] < 0.7
    assert any("whole blocks are predicted in place of sub-layers" in note for note in report["notes"])
    assert np.array_equal(latents, by_block)


def test_tokens_are_not_selected_and_a_note_says_why(server):
    _, report = sample(server, refined(toy_graph("lumina", {}), {"level": "sublayer", "threshold": 10.0}, {}))
    assert "Tokens are not selected: the level sublayer predicts all of them at once." in report["notes"]
    assert report["computed_fraction"] < 0.7


@pytest.mark.parametrize(("failure", "message"), [("interrupt", "interrupted"), ("error", "toy failure at call")])
def test_a_run_that_breaks_off_leaves_no_module_changed(server, failure, message):
    def breaking(bare: bool) -> Graph:
        graph = sublayered(toy_graph("lumina", {}), threshold=10.0)
        graph["breaking"] = node(
            "FastCacheToyFailOnce", model=["toy", 0], blocks="layer", index=2, failure=failure, call=2
        )
        graph["fastcache"]["inputs"]["model"] = ["breaking", 0]
        return bypassed(graph) if bare else graph

    cached, _ = sample(server, sublayered(toy_graph("lumina", {}), threshold=10.0))
    plain, _ = sample(server, toy_graph("lumina"))
    with pytest.raises(ComfyError, match=message):
        sample(server, breaking(bare=False))
    again, _ = sample(server, afresh(breaking(bare=False)))
    bare = afresh(breaking(bare=True))
    bare["forwards"] = node("FastCacheToyForwards", model=["toy", 0], after_sample=["sample", 0])
    (uncached,), outputs = sample_all(server, bare, ["sample"])
    assert np.array_equal(again, cached)
    assert np.array_equal(uncached, plain)
    assert json.loads(outputs["forwards"]["text"][0]) == ["layers.2"]  # the failing node's own


def test_two_samplers_with_one_model_have_a_state_of_their_own(server):
    graph = sublayered(toy_graph("pixart_alpha", {}), threshold=10.0)
    second = graph["sample"]["inputs"] | {"latent_image": ["sample", 0], "denoise": 0.9, "seed": 4}
    graph["second"] = node("KSampler", **second)
    (first, then), _ = sample_all(server, graph, ["sample", "second"])
    alone, _ = sample(server, afresh(sublayered(toy_graph("pixart_alpha", {}), threshold=10.0)))
    (_, again), _ = sample_all(server, afresh(graph), ["sample", "second"])
    assert np.array_equal(first, alone)
    assert np.array_equal(then, again)


def test_a_compiled_model_skips_the_same_and_gives_the_same_image(server):
    eager = sublayered(toy_graph("lumina", {}, steps=9), threshold=10.0)
    expected, report = sample(server, eager)
    compiled = {**eager, "compile": node("TorchCompileModel", model=["toy", 0], backend="cudagraphs")}
    compiled["fastcache"] = node("FastCache", **(eager["fastcache"]["inputs"] | {"model": ["compile", 0]}))
    got, compiled_report = sample(server, compiled)
    assert report["computed_fraction"] < 0.8
    assert compiled_report["computed"] == report["computed"], compiled_report["notes"]
    assert quality(got, expected) > 60
