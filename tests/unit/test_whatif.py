"""The browser's what-if is the engine's replay: the same decisions at ten thresholds, on reports of every kind."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from fastcache_core import significance
from fastcache_core.policies import GROWTH, RULES
from fastcache_core.replay import NEXT_TO_NOTHING, TIE, TOLD, replay, why_not
from fastcache_core.thresholds import HIGHEST
from tests.unit.test_replay import recorded, restarted
from tests.unit.test_web import needs_node, run_node

THRESHOLDS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0)
SELECTOR = {"min_active": 0.3, "max_active": 0.7, "refresh_interval": 3}
RUNS: dict[str, dict[str, Any]] = {
    **{
        f"{rule} {level}": {"block_threshold": 0.2, "rule": rule, "level": level}
        for rule in ("significance", "change", "first_block")
        for level in ("stack", "span", "block")
    },
    "alpha": {"block_threshold": 0.2, "rule": "significance", "alpha": 0.1, "max_consecutive_skips": 1},
    "own thresholds": {"block_threshold": 0.2, "rule": "significance", "block_thresholds": "0: 0, 1: 0.4"},
    "blocks and tokens": {"block_threshold": 0.3, "token_threshold": 0.3, "rule": "significance"},
    "tokens of two samples": {"block_threshold": 0.1, "token_threshold": 0.05, "samples": 2},
    "tokens within bounds": {"token_threshold": 0.01, "samples": 2, "selector": SELECTOR},
    "tokens at rest": {"token_threshold": 1.0, "speed": 0.002, "selector": {"warmup_evaluations": 4}},
    "along the schedule": {"block_threshold": 0.1, "rule": "significance", "threshold_curve": (0.3, 4, 1)},
}
SCRIPT = """
import { readReport } from "./web/lib/report.mjs";
import { replay, scaled } from "./web/lib/whatif.mjs";
import { readFileSync } from "node:fs";
const [value, thresholds] = JSON.parse(readFileSync(0, "utf8"));
const report = readReport(value);
const answers = thresholds.flatMap((threshold) => [[threshold, null], [null, threshold]]
    .filter(([, token]) => token === null || report.saliency)
    .map(([block, token]) => replay(report, scaled(report, "block", block), scaled(report, "token", token))));
console.log(JSON.stringify(answers.map((a) => ({ ...a, masks: a.masks && a.masks.map((mask) => [...mask]) }))));
"""


REPORTS = {name: functools.partial(recorded, **options) for name, options in RUNS.items()}
REPORTS["restart"] = functools.partial(restarted, 6, "significance")


@needs_node
@pytest.mark.parametrize("report_of", REPORTS.values(), ids=REPORTS.keys())
def test_ten_thresholds_give_the_same_decisions(report_of):
    report = report_of()
    selecting = report["tokens"]["saliency"] is not None
    asked = [pair for t in THRESHOLDS for pair in ((t, None), (None, t)) if pair[1] is None or selecting]
    told = json.loads(run_node("--input-type=module", "--eval", SCRIPT, stdin=json.dumps([report, THRESHOLDS])))
    assert len(told) == len(asked) >= len(THRESHOLDS)
    for pair, there in zip(asked, told, strict=True):
        here = replay(report, *pair)
        assert there["computed"] == here.computed, pair
        assert there["masks"] == (here.masks and [mask.flatten().int().tolist() for mask in here.masks]), pair
        assert there["computedFraction"] == pytest.approx(here.computed_fraction, rel=1e-9)
        untold = [error is None for error in here.errors]
        assert [error is None for error in there["errors"]] == untold
        assert [e or 0.0 for e in there["errors"]] == pytest.approx([e or 0.0 for e in here.errors], rel=1e-9)
        assert there["left"] == pytest.approx(here.left, rel=1e-9)
    assert len({json.dumps(there["computed"]) for there in told}) > 1  # the thresholds make a difference


@needs_node
@pytest.mark.parametrize("rule", RULES)
def test_both_tell_of_which_rules_other_thresholds_are_known(rule):
    report = recorded(0.2, rule="change")
    report["run"]["rule"] = rule
    script = """import { readReport } from "./web/lib/report.mjs";
                import { isTold, whyNot } from "./web/lib/whatif.mjs";
                import { readFileSync } from "node:fs";
                const report = readReport(JSON.parse(readFileSync(0, "utf8")));
                console.log(JSON.stringify([isTold(report), whyNot(report)]))"""
    told, sentence = json.loads(run_node("--input-type=module", "--eval", script, stdin=json.dumps(report)))
    assert sentence == why_not(report)
    assert told == (sentence is None) == (rule in TOLD)


@needs_node
def test_both_have_the_same_constants():
    script = """import { CONSTANTS } from "./web/lib/whatif.mjs"; console.log(JSON.stringify(CONSTANTS))"""
    assert json.loads(run_node("--input-type=module", "--eval", script)) == {
        "exponent": significance.EXPONENT,
        "forgetting": significance.FORGETTING,
        "tiny": significance.TINY,
        "priorSpread": significance.PRIOR_SPREAD,
        "priorWeight": significance.PRIOR_WEIGHT,
        "highest": HIGHEST,
        "growth": GROWTH,
        "tie": TIE,
        "nextToNothing": NEXT_TO_NOTHING,
    }
