"""Models that no adapter knows: their blocks are made out where that is possible; nothing happens where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from demo.graphs import Graph, node

from .conformance import AT_REST, COMPUTED, EXACT, off_by, repeat_graph
from .graphs import ALL_BLOCKS, refined, sample, toy_graph


def test_an_unsupported_model_runs_unpatched_and_says_so(server):
    reference, _ = sample(server, toy_graph("unet"))
    cached, report = sample(server, toy_graph("unet", {}))
    assert np.array_equal(cached, reference)
    assert report["run"]["family"] is None and report["computed"] == []
    sentence = (
        "UNetModel is not supported: FastCache neither knows it nor finds blocks of a transformer that hold most of "
        "its weights. It runs without FastCache; the level model_output needs no blocks."
    )
    assert report["notes"] == [sentence]
    assert sentence in server.log()


def unknown_graph(kind: str, fastcache: dict | None = None, evaluations: int | None = None) -> Graph:
    """The graph of a toy whose latents and texts have the same shapes, with another model."""
    built = toy_graph("lumina", fastcache) if evaluations is None else repeat_graph("lumina", evaluations, fastcache)
    return built | {"toy": node("FastCacheToyUnknownModel", kind=kind)}


MADE_OUT = {"one stream": 5, "two streams": 5, "in place": 5, "tupled": 5, "on a grid": 5, "two lists": 11}


@pytest.mark.parametrize("kind", MADE_OUT)
def test_blocks_of_an_unknown_transformer_are_made_out_and_predicted(server, kind):
    reference, _ = sample(server, unknown_graph(kind))
    idle, report = sample(server, unknown_graph(kind, {"block_threshold": 1e-6, "token_threshold": 0.01}))
    assert np.array_equal(idle, reference)
    assert len(report["blocks"]) == MADE_OUT[kind] and report["run"]["family"] == "unknown"
    assert "UnknownDiT: unknown family, block cache only." in report["notes"]
    _, report = sample(server, refined(unknown_graph(kind, {}), ALL_BLOCKS))
    assert report["computed_fraction"] < 0.7, report["notes"]
    computed, _ = sample(server, unknown_graph(kind, evaluations=COMPUTED))
    again, report = sample(server, refined(unknown_graph(kind, {}, evaluations=AT_REST), ALL_BLOCKS))
    assert max(report["computed"][-1]) == 0
    assert off_by(again, computed) <= EXACT


@pytest.mark.parametrize("level", ["block", "span", "model_output"])
def test_blocks_of_an_unknown_transformer_are_predicted_at_every_level(server, level):
    computed, _ = sample(server, unknown_graph("two lists", evaluations=COMPUTED))
    graph = unknown_graph("two lists", {}, evaluations=AT_REST)
    again, report = sample(server, refined(graph, {"rule": "interval", "interval": 9, "level": level}))
    assert max(report["computed"][-1]) == 0
    assert off_by(again, computed) <= EXACT


SHAPES = {
    "growing": "do not return what they are given in its shape",
    "packed": "do not return what they are given in its shape",
    "behind a prefix": "see streams of several lengths in one call",
}


@pytest.mark.parametrize("kind", SHAPES)
def test_blocks_whose_streams_change_their_shape_are_left_alone(server, kind):
    reference, _ = sample(server, unknown_graph(kind))
    _, report = sample(server, unknown_graph(kind, {"block_threshold": 10.0}))
    assert report["computed_fraction"] < 0.7  # the whole model is what is predicted
    latents, report = sample(server, refined(unknown_graph(kind, {}), ALL_BLOCKS))
    assert np.array_equal(latents, reference)
    sentence = f"The blocks in stages.main {SHAPES[kind]}; they are left alone."
    assert sentence in report["notes"]
