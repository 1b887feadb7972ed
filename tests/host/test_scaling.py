"""What docs/scaling.md says is kept, against what is kept."""

from __future__ import annotations

import pytest

from benchmarks.scaling import LEVELS, Shape, kept_bytes

from .graphs import DEFAULTS, refined, sample, toy_graph

# Of the toys, in float32: two samples, two branches.
FLUX = Shape(256, 6, 64, (2, 3), 3 * 32 * 32, branches=2, samples=2, size=4)
WAN = Shape(192, 0, 64, (5,), 16 * 3 * 16 * 16, branches=2, samples=2, parts=3, size=4)
RULE = {"rule": "interval", "interval": 2, "warmup_evaluations": 2}


@pytest.mark.parametrize("family, shape", [("flux", FLUX), ("wan", WAN)])
@pytest.mark.parametrize("level", LEVELS)
def test_the_formula_says_what_is_kept(server, family, shape, level):
    _, report = sample(server, refined(toy_graph(family, DEFAULTS), RULE | {"level": level}))
    assert report["cache_bytes_peak"] == kept_bytes(shape, level)


@pytest.mark.parametrize("family, shape", [("flux", FLUX), ("wan", WAN)])
def test_reuse_keeps_no_differences(server, family, shape):
    settings = RULE | {"level": "block", "predictor": "reuse"}
    _, report = sample(server, refined(toy_graph(family, DEFAULTS), settings))
    assert report["cache_bytes_peak"] == kept_bytes(shape, "block", order=0)


@pytest.mark.parametrize("level, predictor, order", [("block", "auto", 1), ("block", "reuse", 0), ("auto", "auto", 1)])
@pytest.mark.parametrize("family, shape", [("flux", FLUX), ("wan", WAN)])
def test_selecting_tokens_adds_keys_values_and_anchors(server, family, shape, level, predictor, order):
    settings = RULE | {"level": level, "predictor": predictor}
    graph = refined(toy_graph(family, DEFAULTS | {"token_threshold": 0.02}), settings)
    _, report = sample(server, refined(graph, None, {"threshold": 0.02}))
    assert report["run"]["tokens_selected"], report["notes"]
    assert report["cache_bytes_peak"] == kept_bytes(shape, report["run"]["level"], order, tokens=True)
