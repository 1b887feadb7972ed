"""nodes/drawing/held.py: what was held against the threshold; the widget reads the same from a report."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from fastcache_core.policies import MEASURES as HELD
from tests.unit.sample_report import sample_report
from tests.unit.schemas import PACK, pack
from tests.unit.test_web import needs_node, run_node

pack()
held = importlib.import_module(f"{PACK}.nodes.drawing.held")
MEASURES, curve_of = held.MEASURES, held.curve_of

NAN = np.nan


def report(rule: str | None = "significance", **more: object) -> dict:
    """Three evaluations."""
    run = {"rule": rule, "block_threshold": 0.1}
    rows = {"computed": [[1.0]] * 3, "held": [None, 0.25, 0.05], "realised": [0.7, None, None]}
    return {"run": run, "blocks": ["double 0"], **rows, **more}


def test_numbers_are_read_as_they_are() -> None:
    curve = curve_of(report())
    assert curve.measure == "expected error"
    np.testing.assert_equal(curve.held, [NAN, 0.25, 0.05])
    np.testing.assert_equal(curve.realised, [0.7, NAN, NAN])
    assert curve.threshold.tolist() == [0.1] * 3


def test_every_rule_with_a_threshold_is_named_as_the_engine_does() -> None:
    assert MEASURES == HELD


@pytest.mark.parametrize("rule", ["interval", "schedule", "paper_chi_square", None])
def test_rules_without_a_threshold_have_no_curve(rule: str | None) -> None:
    assert curve_of(report(rule)) is None


def test_an_older_report_has_no_curve() -> None:
    assert curve_of(report(held=None)) is None


def test_thresholds_of_every_evaluation_come_before_the_single_one() -> None:
    curve = curve_of(report(thresholds={"block": [0.0, 0.3, 0.2], "token": [0.0, 0.0, 0.0]}))
    np.testing.assert_equal(curve.threshold, [NAN, 0.3, 0.2])


def test_forced_evaluations_are_those_with_a_reason() -> None:
    assert curve_of(report(forced=[0, None, 1])).forced.tolist() == [True, False, True]


@needs_node
@pytest.mark.parametrize("rule", MEASURES)
def test_the_widget_draws_the_same_curve(rule: str) -> None:
    script = """import { readReport } from "./web/lib/report.mjs";
                import { curveOf } from "./web/lib/curve.mjs";
                import { readFileSync } from "node:fs";
                console.log(JSON.stringify(curveOf(readReport(JSON.parse(readFileSync(0, "utf8"))), "blocks")))"""
    value = sample_report()
    value["run"]["rule"] = rule
    widget = json.loads(run_node("--input-type=module", "--eval", script, stdin=json.dumps(value)))
    curve = curve_of(value)
    assert curve.measure == widget["name"]
    for name, values in {"middle": curve.held, "threshold": curve.threshold, "dots": curve.realised}.items():
        np.testing.assert_allclose(values, np.array(widget[name], float), err_msg=name)
