"""The level `sublayer` with the families whose attention and MLP can be reached one by one, and with the others."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from demo.graphs import Graph, node
from fastcache_core.adapters import FAMILIES

from .conformance import AT_REST, COMPUTED, EXACT, TOYS, off_by, repeat_graph
from .graphs import refined, sample, sample_all, toy_graph
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
