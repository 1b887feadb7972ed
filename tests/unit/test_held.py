"""nodes/held.py: what was held against the threshold, on reports whose sums are obvious."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.held import curve_of, extent, last_before, sites_of, weighted_mean, weighted_sum

NAN = np.nan


def report(rule: str = "significance", **more: object) -> dict:
    """Two evaluations of four blocks, decided about in pairs."""
    run = {"rule": rule, "sites": [[0, 1], [2, 3]], "block_threshold": 0.1}
    return {
        "run": run | more.pop("run", {}),
        "blocks": ["double 0", "double 1", "single 0", "single 1"],
        "computed": [[1.0] * 4] * 2,
        "change": [[None] * 4, [0.2, 0.2, 0.6, 0.6]],
        "error_expected": [[None] * 4, [0.1, 0.1, 0.3, 0.3]],
        "error_realised": [[0.4, 0.4, 0.8, 0.8], [None] * 4],
        **more,
    }


def test_expected_errors_are_summed_by_the_work_that_was_last_measured() -> None:
    """The second site did three times the work of the first: 0.1 / 4 + 3 * 0.3 / 4."""
    curve = curve_of(report(size=[[1.0, 1.0, 3.0, 3.0], [100.0, 100.0, 0.0, 0.0]]))
    assert curve.measure == "expected error"
    np.testing.assert_allclose(curve.middle, [NAN, 0.25])
    np.testing.assert_allclose(curve.realised, [0.7, NAN])
    assert (curve.low is curve.middle) and (curve.high is curve.middle)


def test_without_sizes_sites_count_alike() -> None:
    curve = curve_of(report())
    np.testing.assert_allclose(curve.middle, [NAN, 0.2])
    np.testing.assert_allclose(curve.realised, [0.6, NAN])


def test_sites_with_a_threshold_of_their_own_are_not_in_the_sum() -> None:
    curve = curve_of(report(run={"own_thresholds": [None, None, 0.02, 0.02]}))
    np.testing.assert_allclose(curve.middle, [NAN, 0.05])


def test_changes_are_a_band_around_their_median() -> None:
    curve = curve_of(report("change"))
    assert curve.measure == "change"
    np.testing.assert_allclose([curve.low, curve.middle, curve.high], [[NAN, 0.2], [NAN, 0.6], [NAN, 0.6]])


@pytest.mark.parametrize("rule", ["interval", "paper_chi_square", None])
def test_rules_without_a_threshold_have_no_curve(rule: str | None) -> None:
    assert curve_of(report(rule)) is None


def test_thresholds_of_every_evaluation_come_before_the_single_one() -> None:
    assert curve_of(report()).threshold.tolist() == [0.1, 0.1]
    curve = curve_of(report(thresholds={"block": [0.0, 0.3], "token": [0.0, 0.0]}))
    np.testing.assert_equal(curve.threshold, [NAN, 0.3])


def test_forced_evaluations_are_those_with_a_reason() -> None:
    assert curve_of(report(forced=[0, None])).forced.tolist() == [True, False]


@pytest.mark.parametrize("sites", [None, 3, [], [[0, 1], [4, 5]], [["0", 1]], [[]]])
def test_sites_that_make_no_sense_are_every_block(sites: object) -> None:
    assert sites_of({"sites": sites}, 4) == [0, 1, 2, 3]


def test_unknown_values_add_nothing_to_a_sum_and_are_left_out_of_a_mean() -> None:
    values, weights = np.array([[0.2, NAN], [NAN, NAN]]), np.array([[1.0, 3.0], [1.0, 1.0]])
    np.testing.assert_allclose(weighted_sum(values, weights), [0.05, NAN])
    np.testing.assert_allclose(weighted_mean(values, weights), [0.2, NAN])


def test_last_before_looks_back_only() -> None:
    np.testing.assert_equal(last_before(np.array([[1.0], [NAN], [2.0]])), [[NAN], [1.0], [1.0]])


def test_extent_of_what_is_known() -> None:
    low, middle, high = extent(np.array([[3.0, NAN, 1.0, 2.0], [NAN, NAN, NAN, NAN], [5.0, NAN, NAN, NAN]]))
    np.testing.assert_equal([low, middle, high], [[1.0, NAN, 5.0], [2.0, NAN, 5.0], [3.0, NAN, 5.0]])
