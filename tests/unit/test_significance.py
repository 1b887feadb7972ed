import math

import pytest

from fastcache_core.significance import EXPONENT, PRIOR_SPREAD, PRIOR_WEIGHT, ErrorStatistics, student_quantile

from . import toys

SIGMAS = [1 - i / 12 for i in range(12)] + [0.0]


def test_nothing_is_known_before_the_first_measurement():
    assert ErrorStatistics().bound(0.1, 0.5) is None


def test_errors_that_follow_the_law_are_expected_exactly_and_promised_with_a_margin():
    errors = ErrorStatistics()
    for change in (0.1, 0.2, 0.05):
        errors.update(0.7 * change**EXPONENT, change)
    assert errors.bound(0.3, 0.5) == pytest.approx(0.7 * 0.3**EXPONENT)
    assert 1 < errors.bound(0.3, 0.1) / (0.7 * 0.3**EXPONENT) < 2.5


def test_the_margin_of_one_measurement_is_the_prior_one():
    errors = ErrorStatistics()
    errors.update(0.2, 1.0)
    spread = student_quantile(0.9, PRIOR_WEIGHT) * PRIOR_SPREAD * math.sqrt(2)
    assert errors.bound(1.0, 0.1) == pytest.approx(0.2 * math.exp(spread))


@pytest.mark.parametrize(
    ("probability", "degrees", "table"),
    [(0.9, 2, 1.886), (0.95, 3, 2.353), (0.9, 5, 1.476), (0.99, 10, 2.764), (0.95, 1e9, 1.645), (0.5, 2, 0.0)],
)
def test_student_quantiles_are_those_of_the_tables(probability, degrees, table):
    assert student_quantile(probability, degrees) == pytest.approx(table, rel=0.02)


def test_a_smaller_alpha_promises_more_and_so_expects_more():
    errors = ErrorStatistics()
    for error in (0.1, 0.3, 0.2):
        errors.update(error, 0.1)
    bounds = [errors.bound(0.1, alpha) for alpha in (0.5, 0.2, 0.05)]
    assert bounds == sorted(bounds) and bounds[0] < bounds[-1]


def test_old_errors_are_forgotten():
    errors = ErrorStatistics()
    errors.update(1.0, 0.1)
    for _ in range(20):
        errors.update(0.01, 0.1)
    assert errors.bound(0.1, 0.5) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("error", "change"), [(math.nan, 0.1), (math.inf, 0.1), (0.1, 0.0), (0.1, math.nan)])
def test_measurements_without_meaning_are_left_out(error, change):
    errors = ErrorStatistics()
    errors.update(error, change)
    assert errors.count == 0


def sample(blocks, threshold, **options):
    run = toys.make_run(blocks, SIGMAS, threshold, rule="significance", **options)
    for sigma, img in zip(SIGMAS[:-1], toys.trajectory(12), strict=True):
        toys.evaluate(run, blocks, sigma, img, (("a", "bb"),))
    run.finish()
    return run, run.report.to_json()


@pytest.mark.parametrize("level", ["stack", "block"])
def test_a_residual_the_predictor_knows_is_skipped_at_any_threshold(level):
    run, report = sample([toys.add_sigma(2.0), toys.add_sigma(-0.5)], 0.01, level=level, warmup_evaluations=3)
    assert report["computed_fraction"] < 0.6
    assert report["error_realised"][1][0] > 0.01  # one anchor only: reuse is off
    assert all(row[0] is None or row[0] < 1e-5 for row in report["error_realised"][2:])
    assert run.decider.synchronisations == 12  # one an evaluation but the first, one when the run ends


def wild(streams, sigma, attending):
    """A residual that turns over from one evaluation to the next: prediction is worse than nothing."""
    return {name: h + math.cos(37 * sigma) for name, h in streams.items()}


def test_a_residual_that_cannot_be_foreseen_is_computed_and_the_report_says_how_far_it_was():
    _, report = sample([wild], 0.05)
    assert report["computed_fraction"] == 1
    smallest = min(row[0] for row in report["error_expected"] if row[0] is not None)
    assert report["notes"] == [
        f"Nothing was skipped; smallest expected error seen {smallest:.3g}, block_threshold 0.05."
    ]


def test_the_realised_error_is_what_the_prediction_would_have_been_off_by():
    """Reuse of a residual proportional to sigma: off by the part that sigma changed."""
    _, report = sample([toys.add_sigma(2.0)], 1e-9, predictor="reuse")
    for i in range(1, 11):
        assert report["error_realised"][i][0] == pytest.approx((SIGMAS[i - 1] - SIGMAS[i]) / SIGMAS[i], rel=1e-3)
