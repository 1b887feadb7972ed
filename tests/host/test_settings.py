"""The nodes that refine FastCache: every rule, predictor, level and token setting in a real run."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from demo.graphs import node
from hosting.process import ComfyError

from .conformance import repeat_graph
from .graphs import (
    BLOCK_CACHE,
    TOKEN_SELECTOR,
    bypassed,
    graph,
    quality,
    refined,
    sample,
    skips_and_stays_close,
    toy_graph,
)


@pytest.mark.parametrize(
    ("name", "defaults"), [("FastCacheBlockCache", BLOCK_CACHE), ("FastCacheTokenSelector", TOKEN_SELECTOR)]
)
def test_widget_defaults_are_the_documented_ones(server, name, defaults):
    inputs = server.object_info()[name]["input"]["required"]
    assert {key: spec[1]["default"] for key, spec in inputs.items()} == defaults
    assert all(spec[1]["tooltip"] for spec in inputs.values())


def test_connected_defaults_give_the_same_as_the_widget(server):
    widget, _ = sample(server, graph(fastcache={}))
    connected, _ = sample(server, refined(graph(fastcache={"block_threshold": 5.0}), {}))
    assert np.array_equal(widget, connected)


# Thresholds at which the demo model computes about two thirds of the work.
@pytest.mark.parametrize(
    ("block_cache", "decibels"),
    [
        ({"rule": "change", "threshold": 0.2}, 25),
        ({"rule": "first_block", "threshold": 0.2}, 25),
        ({"rule": "interval", "interval": 2}, 30),
        ({"rule": "significance", "predictor": "reuse", "threshold": 0.2}, 25),
        ({"rule": "significance", "predictor": "linear", "threshold": 0.2}, 25),
        ({"rule": "significance", "level": "span", "threshold": 0.05}, 28),
        ({"rule": "significance", "level": "block", "threshold": 0.05}, 28),
        ({"rule": "significance", "level": "model_output", "threshold": 0.05}, 35),
    ],
    ids=lambda value: " ".join(str(part) for part in value.values()) if isinstance(value, dict) else "",
)
def test_every_rule_predictor_and_level_skips_and_stays_close(server, block_cache, decibels):
    skips_and_stays_close(server, refined(graph(fastcache={}), block_cache), decibels)


def test_the_papers_rule_skips_whatever_may_be_skipped(server):
    _, report = sample(server, refined(graph(fastcache={}), {"rule": "paper_chi_square", "alpha": 0.05}))
    assert [row[0] for row in report["computed"][3:-1]] == [0, 0, 0, 1] * 4


LEVELS = ("block", "span", "stack", "model_output")


@pytest.mark.parametrize("family", ["flux", "chroma", "lumina", "sd3", "wan"])
@pytest.mark.parametrize("level", LEVELS)
def test_on_identical_input_prediction_equals_computing_at_every_level(server, family, level):
    repeated = [
        refined(repeat_graph(family, n, {}), {"rule": "interval", "interval": 9, "level": level}) for n in (3, 6)
    ]
    (computed, _), (again, report) = (sample(server, one) for one in repeated)
    assert max(report["computed"][5]) == 0, report["notes"]
    assert report["run"]["level"] == level
    np.testing.assert_allclose(again, computed, rtol=1e-4, atol=1e-4 * np.abs(computed).max())


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_skipped_is_bit_identical_at_every_level(server, level):
    idle = refined(graph(fastcache={}), {"threshold": 1e-6, "level": level})
    reference, _ = sample(server, bypassed(idle))
    latents, report = sample(server, idle)
    assert np.array_equal(latents, reference)
    assert report["computed_fraction"] == 1 and report["run"]["level"] == level


def test_the_model_output_of_a_model_that_is_not_known_can_be_predicted(server):
    unknown = refined(toy_graph("unet", {}), {"rule": "interval", "interval": 2, "level": "model_output"})
    _, report = sample(server, unknown)
    assert report["blocks"] == ["model"] and report["run"]["family"] is None
    assert [row[0] for row in report["computed"]] == [1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1]


def test_active_tokens_that_attend_to_each_other_only_are_computed_and_need_less_memory(server):
    selector = {"threshold": 0.02, "min_active": 0.3, "max_active": 0.6}
    runs = {
        context: sample(
            server, refined(graph(fastcache={"block_threshold": 0.0}), None, selector | {"context": context})
        )
        for context in ("all_tokens", "active_tokens")
    }
    (near, with_all), (far, alone) = runs["all_tokens"], runs["active_tokens"]
    for report in (with_all, alone):
        computed = np.array(report["computed"])
        partial = computed[computed < 1]
        assert partial.size and partial.min() >= 0.29 and partial.max() <= 0.61
    assert alone["cache_bytes_peak"] < with_all["cache_bytes_peak"]
    reference, _ = sample(server, graph())
    assert quality(near, reference) > quality(far, reference)


def test_thresholds_of_single_blocks(server):
    never = refined(
        graph(fastcache={}), {"level": "block", "rule": "interval", "block_thresholds": "single 0-3: 0, 80: 1"}
    )
    _, report = sample(server, never)
    computed = dict(zip(report["blocks"], np.array(report["computed"]).T, strict=True))
    assert all((computed[name] == 1).all() == name.startswith(("single 0", "single 1", "single 2", "single 3"))
               for name in computed if not name.startswith("single 1") or name == "single 1")  # fmt: skip
    assert report["notes"] == [
        "block_thresholds: '80: 1' names blocks that do not exist; this model has blocks 0 to 15."
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (({"block_thresholds": "0-6 0.02"}, None), "'0-6 0.02' has no colon"),
        (({"alpha": 2.0}, None), "alpha is 2, but it must lie between 0.001 and 0.999"),
        (({"rule": "first_block", "level": "model_output"}, None), "which the level model_output never sees"),
        ((None, {"min_active": 0.8, "max_active": 0.2}), "min_active (0.8) is above max_active (0.2)"),
        ((None, {"refresh_interval": 0}), "refresh_interval is 0"),
    ],
)
def test_invalid_values_are_refused_before_sampling(server, changes, sentence):
    with pytest.raises(ComfyError) as refusal:
        sample(server, refined(graph(fastcache={}), *changes))
    assert sentence in str(refusal.value)


def test_thresholds_follow_a_curve_over_the_schedule(server):
    """A scheduler's sigmas of a flow model run from 1 to 0, and so do the thresholds."""
    curved = refined(graph(fastcache={}), {"threshold": 0.3}, {"threshold": 0.05})
    curved["curve"] = node("BasicScheduler", model=["shift", 0], scheduler="simple", steps=20, denoise=1.0)
    for refining in ("rules", "tokens"):
        curved[refining]["inputs"]["threshold_curve"] = ["curve", 0]
    _, report = sample(server, curved)
    for kind, threshold in (("block", 0.3), ("token", 0.05)):
        held = report["thresholds"][kind]
        assert held == sorted(held, reverse=True)
        assert held[0] == pytest.approx(threshold, rel=0.05) and held[-1] < 0.2 * threshold
    assert report["run"]["block_threshold"] == 0.3


def test_every_number_can_come_from_another_node(server):
    """Whatever a widget sets, a connected value of the same kind sets as well."""
    plain = refined(graph(fastcache={}), {"rule": "change", "threshold": 0.2}, {"threshold": 0.02})
    connected = copy.deepcopy(plain)
    for refining in ("fastcache", "rules", "tokens"):
        for name, value in plain[refining]["inputs"].items():
            kind = {float: "PrimitiveFloat", int: "PrimitiveInt", str: "PrimitiveString"}.get(type(value))
            combo = name in ("cache_device", "rule", "predictor", "level", "context")
            if kind is not None and not combo:
                connected[f"{refining} {name}"] = node(kind, value=value)
                connected[refining]["inputs"][name] = [f"{refining} {name}", 0]
    assert len(connected) - len(plain) == 14
    (expected, _), (latents, report) = (sample(server, one) for one in (plain, connected))
    assert np.array_equal(latents, expected) and report["computed_fraction"] < 1


def test_a_connected_number_is_checked_when_it_is_known(server):
    connected = refined(graph(fastcache={}), {})
    connected["number"] = node("PrimitiveFloat", value=-3.0)
    connected["rules"]["inputs"]["threshold"] = ["number", 0]
    with pytest.raises(ComfyError, match="block_threshold is -3"):
        sample(server, connected)
