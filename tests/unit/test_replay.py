"""Replaying a report: at the run's own thresholds it says what the run did."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcache_core.config import TokenSelectorConfig
from fastcache_core.records import quantised
from fastcache_core.replay import between, replay, told_apart, unpacked, why_not
from fastcache_core.tokens import choose_active

from . import toys

SIGMAS = [1.0, 0.92, 0.85, 0.77, 0.69, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]


def recorded(block_threshold=0.0, token_threshold=0.0, samples=1, seed=0, speed=0.1, **options) -> dict:
    """The report of a run over blocks of attention, whose image tokens move by different amounts."""
    blocks = [toys.attend(seed + i, 4) for i in range(3)]
    run = toys.make_run(blocks, SIGMAS, block_threshold, token_threshold, **options)
    run.report.grid = (1, 2, 3)
    steps = len(SIGMAS) - 1
    paths = [toys.trajectory(steps, samples, seed=seed + i, speed=speed / (1 + i)) for i in range(3)]
    for i, sigma in enumerate(SIGMAS[:-1]):
        img = torch.stack([path[i] * (1 + 0.2 * math.sin(i * (2 + j))) for j, path in enumerate(paths)]).sum(dim=0)
        toys.evaluate(run, blocks, sigma, img, (("cond",), ("uncond",)))
    run.finish()
    return json.loads(json.dumps(run.report.to_json()))


def check_own(report: dict) -> None:
    again = replay(report)
    assert [[round(f, 4) for f in row] for row in again.computed] == report["computed"]
    assert again.computed_fraction == pytest.approx(report["computed_fraction"], abs=1e-3)
    for i, row in enumerate(report["computed"]):
        if again.masks and any(0 < fraction < 1 for fraction in row):
            assert again.masks[i].flatten().tolist() == bits(report["tokens"]["computed"][i], again.masks[i].numel())


def bits(packed: str, count: int) -> list[bool]:
    octets = np.frombuffer(base64.b64decode(packed), np.uint8)
    return np.unpackbits(octets, count=count).astype(bool).tolist()


@pytest.mark.parametrize("level", ["stack", "span", "block"])
@pytest.mark.parametrize("rule", ["significance", "change", "first_block"])
@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.8, 5.0])
def test_at_its_own_threshold_a_replay_says_what_the_run_did(rule, level, threshold):
    check_own(recorded(threshold, rule=rule, level=level))


@pytest.mark.parametrize("rule", ["significance", "change"])
def test_with_thresholds_along_the_schedule(rule):
    report = recorded(0.1, rule=rule, threshold_curve=(0.5, 9, 3))
    assert len(set(report["thresholds"]["block"])) > 3
    check_own(report)


def test_with_token_thresholds_along_the_schedule():
    """Where the curve is 0 all tokens are computed; elsewhere bytes lie around the threshold of their evaluation."""
    report = recorded(0.0, 0.3, selector={"threshold_curve": (0, 0, 1, 0.3)})
    held, fractions = report["thresholds"]["token"], [row[0] for row in report["computed"]]
    assert all(fraction == 1 for fraction, threshold in zip(fractions, held, strict=True) if threshold == 0)
    assert min(fractions) < 1
    check_own(report)


def restarted(begins: int, rule: str) -> dict:
    """The report of a run in which something adds between blocks from an evaluation on."""
    blocks = [toys.attend(i, 4) for i in range(3)]
    run = toys.make_run(blocks, SIGMAS, 0.8, rule=rule, level="stack")
    for i, (sigma, img) in enumerate(zip(SIGMAS[:-1], toys.trajectory(len(SIGMAS) - 1, speed=0.1), strict=True)):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        streams = {"img": img, "txt": toys.text_of(["cond"], img)}
        for index, block in enumerate(blocks):
            streams = run.run_block(toys.block_call(index, block, sigma, streams))
            if i >= begins:
                streams = {name: h + 0.01 for name, h in streams.items()}
        run.end_evaluation()
    run.finish()
    return json.loads(json.dumps(run.report.to_json()))


@pytest.mark.parametrize("rule", ["significance", "change"])
@pytest.mark.parametrize("begins", [4, 6])
def test_from_where_something_adds_between_blocks_they_are_decided_about_anew(begins, rule):
    report = restarted(begins, rule)
    assert report["run"]["levels"] == ["stack", "block"] and report["run"]["restarts"]
    check_own(report)


def test_the_recorded_runs_are_worth_replaying():
    report = recorded(0.8, rule="change")
    assert {f for row in report["computed"] for f in row} == {0, 1}
    report = recorded(0.0, 0.3, samples=2)
    assert any(0 < f < 1 for row in report["computed"] for f in row)


@given(
    threshold=st.floats(0.0, 3.0),
    token_threshold=st.floats(1e-4, 3.0),
    level=st.sampled_from(["stack", "block"]),
    rule=st.sampled_from(["significance", "change"]),
    refresh=st.integers(1, 6),
    samples=st.integers(1, 2),
    skips=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_with_tokens_too(threshold, token_threshold, level, rule, refresh, samples, skips):
    selector = {"refresh_interval": refresh}
    options = {"rule": rule, "level": level, "selector": selector, "max_consecutive_skips": skips}
    check_own(recorded(threshold, token_threshold, samples, **options))


def test_bounds_on_active_tokens_hold_in_a_replay():
    report = recorded(0.0, 0.3, selector={"min_active": 0.5, "max_active": 0.67})
    check_own(report)
    shares = {round(f, 4) for row in replay(report, 0.0, 0.3).computed for f in row}
    assert {0.5, 1.0} <= shares <= {0.5, 0.6667, 1.0}


@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_of_tokens_that_hardly_moved_those_are_computed_that_were(threshold):
    """Below a part of the threshold all changes are the same byte, 0."""
    check_own(recorded(0.0, threshold, speed=0.002, selector={"min_active": 0.5, "refresh_interval": 6}))


def test_in_the_warm_up_of_tokens_none_rests():
    report = recorded(0.0, 0.3, selector={"warmup_evaluations": 6})
    fractions = [row[0] for row in report["computed"]]
    assert fractions[:6] == [1] * 6 and min(fractions[6:]) < 1
    check_own(report)


def test_higher_thresholds_skip_more_and_estimate_larger_errors():
    report = recorded(0.3)
    replays = [replay(report, threshold, 0.0) for threshold in (0.01, 0.1, 0.3, 1.0, 10.0)]
    work = [again.computed_fraction for again in replays]
    assert work == sorted(work, reverse=True) and work[0] > work[-1]
    errors = [max(again.errors) for again in replays]
    assert errors == sorted(errors) and errors[-1] > errors[0] == 0


def test_the_estimate_of_another_threshold_is_near_what_another_run_does():
    cautious = recorded(0.05, rule="significance")
    for threshold in (0.1, 0.3, 1.0):
        there = recorded(threshold, rule="significance")["computed_fraction"]
        assert replay(cautious, threshold, 0.0).computed_fraction == pytest.approx(there, abs=0.15), threshold


@pytest.mark.parametrize(
    ("options", "thresholds", "words"),
    [
        ({"rule": "interval", "block_threshold": 1.0}, (0.1, 0.0), "change and first_block; this run's was interval"),
        ({"block_threshold": 0.1}, (0.1, 0.1), "No tokens were selected in this run"),
    ],
)
def test_what_cannot_be_told_is_a_sentence(options, thresholds, words):
    with pytest.raises(ValueError, match=words):
        replay(recorded(**options), *thresholds)


def test_reports_of_other_kinds_are_refused():
    report = recorded(0.1)
    assert "the run did not end" in why_not({key: value for key, value in report.items() if key != "step"})
    assert "other/1" in why_not({"schema": "other/1"})
    assert "measured nothing" in why_not(report | {"evaluation_work": [0.0]})
    apart = report | {"run": report["run"] | {"views": 2}}
    assert "areas, context windows" in why_not(apart)
    crowded = report | {"run": report["run"] | {"tokens_selected": True}}
    assert "too many of them" in why_not(crowded)


def test_missing_values_lie_between_their_neighbours():
    assert between([None, 1.0, None, 3.0, None]) == [1, 1, 2, 3, 3]
    assert between([None, None]) == [None, None]


@given(st.lists(st.floats(0, 100), min_size=4, max_size=40), st.floats(1e-4, 10))
def test_quantised_saliencies_stay_on_their_side_of_the_threshold(values, threshold):
    saliency = torch.tensor([values])
    octets = quantised(saliency, threshold)
    assert ((octets >= 128) == (saliency > threshold)).all()
    again = unpacked(base64.b64encode(octets.numpy().tobytes()).decode(), threshold, (1, len(values)))
    inside = (octets > 0) & (octets < 255)
    assert torch.allclose(again[inside], saliency[inside].double(), rtol=0.04)


def test_tokens_whose_changes_became_the_same_byte_are_told_apart_as_in_the_run():
    saliency = torch.full((1, 8), 0.01, dtype=torch.float64)
    done = base64.b64encode(bytes([0b00000100])).decode()
    for same in (saliency, 0 * saliency):
        first = choose_active(told_apart(same, done), torch.zeros(1, 8), TokenSelectorConfig(0.02))
        assert first.nonzero().tolist() == [[0, 5]]
    assert told_apart(None, done) is None
