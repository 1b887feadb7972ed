"""What other nodes add between blocks of models other than the demo's is computed, never predicted away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from demo.graphs import Graph, node

from .conformance import AT_REST, COMPUTED, EXACT, off_by, repeat_graph
from .graphs import ALL_BLOCKS, refined, sample, toy_graph

WIDTHS = {"flux": 64, "chroma": 64, "qwen_image": 64, "mage_flow": 64, "sd3": 128}
HOOKED_LATER = ("z_image",)  # older versions of ComfyUI call no hooks there


def controlled(graph: Graph, family: str) -> Graph:
    """The same graph with a ControlNet-like addition behind some blocks."""
    settings = {"amount": 0.5, "width": WIDTHS[family], "uncond_too": True}
    control = node("FastCacheToyControl", conditioning=["positive", 0], **settings)
    return with_inputs(graph | {"control": control}, positive=["control", 0])


def hooked(graph: Graph, family: str) -> Graph:
    """The same graph with a hook that adds behind some blocks."""
    return with_inputs(graph | {"hook": node("FastCacheToyPostBlock", model=["toy", 0], amount=0.5)}, toy=["hook", 0])


def with_inputs(graph: Graph, **changes: Any) -> Graph:
    """The same graph, in which what took `toy` or `positive` takes something else, except the node in between."""
    links = {("model", "toy"): changes.get("toy"), ("positive", "positive"): changes.get("positive")}

    def changed(key: str, entry: dict[str, Any]) -> dict[str, Any]:
        inputs = dict(entry["inputs"])
        for name, value in inputs.items():
            if key not in ("hook", "control") and isinstance(value, list) and links.get((name, value[0])):
                inputs[name] = links[name, value[0]]
        return {**entry, "inputs": inputs}

    return {key: changed(key, entry) for key, entry in graph.items()}


HOOKED = ("qwen_image", "mage_flow", *HOOKED_LATER)
ADDITIONS = [*((controlled, family) for family in WIDTHS), *((hooked, family) for family in HOOKED)]


@pytest.mark.parametrize(("addition", "family"), ADDITIONS)
def test_additions_between_blocks_are_computed(server, missing, addition, family):
    if family in missing:
        pytest.skip(missing[family])
    plain, _ = sample(server, toy_graph(family))
    reference, _ = sample(server, addition(toy_graph(family), family))
    if family in HOOKED_LATER and np.array_equal(reference, plain):
        pytest.skip("this ComfyUI calls no hooks there")
    assert off_by(reference, plain) > 0.01  # it matters
    idle, _ = sample(server, refined(addition(toy_graph(family, {}), family), ALL_BLOCKS | {"threshold": 1e-6}))
    assert np.array_equal(idle, reference)
    _, report = sample(server, refined(addition(toy_graph(family, {}), family), ALL_BLOCKS))
    assert report["computed_fraction"] < 0.8, report["notes"]
    assert report["run"]["level"] == "block"
    computed, _ = sample(server, addition(repeat_graph(family, COMPUTED), family))
    again, report = sample(server, refined(addition(repeat_graph(family, AT_REST, {}), family), ALL_BLOCKS))
    assert max(report["computed"][-1]) == 0
    assert off_by(again, computed) <= EXACT


@pytest.mark.parametrize("family", ["flux", "lumina", "sd3"])
@pytest.mark.parametrize("tokens", [None, {"threshold": 0.01, "min_active": 0.5}])
def test_tiles_of_a_picture_have_a_state_of_their_own(server, family, tokens):
    def tiled(graph: Graph) -> Graph:
        return with_inputs(graph | {"hook": node("FastCacheToyTiles", model=["toy", 0])}, toy=["hook", 0])

    settings = {"block_threshold": 0.0 if tokens else 10.0}
    reference, _ = sample(server, tiled(toy_graph(family)))
    idle, _ = sample(server, tiled(toy_graph(family, {"block_threshold": 1e-6})))
    assert np.array_equal(idle, reference)
    computed, _ = sample(server, tiled(repeat_graph(family, COMPUTED)))
    graph = tiled(repeat_graph(family, AT_REST, settings))
    again, report = sample(server, refined(graph, None, tokens) if tokens else graph)
    assert max(report["computed"][-1]) < 1, report["notes"]
    assert off_by(again, computed) <= EXACT


def in_parts(graph: Graph, what: str) -> Graph:
    return with_inputs(graph | {"hook": node("FastCacheToyInParts", model=["toy", 0], what=what)}, toy=["hook", 0])


@pytest.mark.parametrize("family", ["flux", "cosmos_predict2"])
def test_a_model_that_is_run_again_on_parts_of_a_batch_is_left_alone_there(server, family):
    reference, _ = sample(server, in_parts(toy_graph(family), "model"))
    cached, report = sample(server, refined(in_parts(toy_graph(family, {}), "model"), ALL_BLOCKS))
    assert report["computed_fraction"] < 0.8, report["notes"]
    assert np.array_equal(cached, reference)
    assert any("see 1 rows of a batch of 4; they are left alone" in note for note in report["notes"])


@pytest.mark.parametrize("level", ["block", "stack"])
def test_a_block_that_is_run_on_parts_of_a_batch_is_left_alone(server, level):
    def rule(graph: Graph) -> Graph:
        return refined(graph, {"rule": "interval", "interval": 9, "level": level})

    reference, _ = sample(server, in_parts(toy_graph("flux"), "block"))
    idle, _ = sample(server, in_parts(toy_graph("flux", {"block_threshold": 1e-6}), "block"))
    assert off_by(idle, reference) <= EXACT
    computed, _ = sample(server, in_parts(repeat_graph("flux", COMPUTED), "block"))
    again, report = sample(server, rule(in_parts(repeat_graph("flux", AT_REST, {}), "block")))
    assert min(report["computed"][-1]) == 0, report["notes"]
    assert off_by(again, computed) <= EXACT
