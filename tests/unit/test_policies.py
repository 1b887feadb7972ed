import math

import pytest

from fastcache_core.chi_square import chi_square_quantile
from fastcache_core.config import PLANNED, RULES, BlockCacheConfig
from fastcache_core.curves import MAGNITUDE, OF_STATE, OF_TIME, POLYNOMIAL, Curves
from fastcache_core.masks import what_is_missing
from fastcache_core.policies import Facts, SiteFacts, fitted_change, guard, held, reasons_to_compute
from fastcache_core.profile import Profile
from fastcache_core.state import Step

FACTS = Facts(index=9, ending=0, in_window=True, elements=1000)
SITE = SiteFacts(change=0.05, step=0.02, error=0.05, share=1.0, skips=0)

CURVES = Curves([1.0, 0.5, 0.0], {MAGNITUDE: [1.0, 0.8, 0.5], OF_STATE: [2.0, 1.0, 1.0], OF_TIME: [0.5, 0.5, 0.0]},
                {POLYNOMIAL: [3.0, 0.01]})  # fmt: skip
LOOKED_UP = Facts(**{**vars(FACTS), "sigma": 0.25, "curves": CURVES})
KNOWN = SITE._replace(distance=0.04, anchor=1.0, path=[Step(0.5, 0.02), Step(0.25, 0.03)], rate=1.5)


def predicted(sites, facts=FACTS, **config):
    """Which sites are predicted."""
    return [reason is None for reason in reasons_to_compute(facts, sites, BlockCacheConfig(**config))]


def reason(site=SITE, **config):
    return reasons_to_compute(FACTS, [site], BlockCacheConfig(**config))[0]


@pytest.mark.parametrize(
    ("facts", "config", "words"),
    [
        ({"index": 2}, {"warmup_evaluations": 3}, "warm-up, the first 3 evaluations"),
        ({"ending": 1}, {}, "the last evaluation always is"),
        ({"in_window": False}, {}, "outside start_percent and end_percent"),
    ],
)
def test_guards_hold_whatever_the_sites_are(facts, config, words):
    assert guard(FACTS, BlockCacheConfig(**config)) is None
    assert words in guard(Facts(**{**vars(FACTS), **facts}), BlockCacheConfig(**config))


@pytest.mark.parametrize("rule", RULES)
def test_a_threshold_of_0_switches_every_rule_off(rule):
    assert "the block cache is off" in reason(rule=rule, threshold=0.0)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in PLANNED])
def test_skips_in_a_row_are_bounded_and_counted_per_site(rule):
    sites = [KNOWN._replace(skips=n, longest=5) for n in (1, 2, 3)]
    assert predicted(sites, LOOKED_UP, rule=rule, threshold=10.0, max_consecutive_skips=2) == [True, False, False]


@pytest.mark.parametrize("longest, most", [(0, 1), (1, 2), (2, 4), (3, 6)])
def test_a_row_of_predicted_evaluations_is_at_most_twice_as_long_as_any_before(longest, most):
    sites = [KNOWN._replace(skips=n, longest=longest) for n in range(8)]
    free = {"threshold": 10.0, "max_consecutive_skips": 20}
    assert predicted(sites, rule="significance", **free) == [n < most for n in range(8)]
    assert all(predicted(sites, rule="change", **free))
    assert f"no more than {most} evaluations in a row" in reason(sites[-1], rule="significance", **free)


def test_what_a_rule_measures_is_held_against_the_threshold():
    measures = {
        "change": 0.05,
        "distance": 0.04,
        "fitted_change": 3 * 0.05 + 2 * 0.01,
        "magnitude": 0.2 + 0.35,
        "sensitivity": 2 * 0.04 + 0.5 * 0.75,
        "rate": 1.5 * 0.05,
    }
    for rule, value in measures.items():
        assert held(LOOKED_UP, [KNOWN], BlockCacheConfig(rule=rule)) == pytest.approx(value)
        assert predicted([KNOWN], LOOKED_UP, rule=rule, threshold=value * 1.01) == [True]
        assert predicted([KNOWN], LOOKED_UP, rule=rule, threshold=value * 0.99) == [False]
    missing = ("fitted_change", "magnitude", "sensitivity")
    assert all("is not known" in reason(rule=rule, threshold=10.0) for rule in (*missing, "rate", "distance"))


def test_a_polynomial_below_zero_does_not_make_up_for_changes():
    """Beyond what it was fitted to it may be anything."""
    curves = Curves([1.0], coefficients={POLYNOMIAL: [-100.0, 3.0, 0.0]})
    known = KNOWN._replace(path=[Step(1.0, 0.01), Step(0.9, 1.0), Step(0.8, math.nan)])
    assert fitted_change(Facts(5, False, True, curves=curves), known._replace(path=known.path[:2])) == 0.02
    assert math.isnan(fitted_change(Facts(5, False, True, curves=curves), known))


def test_half_of_what_a_rule_looks_up_is_not_enough():
    curves = Curves([1.0], {OF_STATE: [1.0]}, {MAGNITUDE: [1.0]})
    profile = Profile("toy", 4, ["double 0"], curves=curves)
    for rule, name in (("sensitivity", OF_TIME), ("magnitude", MAGNITUDE), ("fitted_change", POLYNOMIAL)):
        assert f"with the curve {name}." in what_is_missing(BlockCacheConfig(rule=rule), profile)
        assert predicted([KNOWN], Facts(5, False, True, curves=curves), rule=rule, threshold=10.0) == [False]


def test_a_site_that_was_never_computed_is():
    assert "nothing is remembered" in reason(SITE._replace(change=None), rule="change", threshold=10.0)


def test_change_is_held_against_the_threshold_or_the_blocks_own():
    sites = [SITE._replace(threshold=own) for own in (None, 0.01, 0.0, 0.2)]
    assert predicted(sites, rule="change", threshold=0.05) == [True, False, False, True]
    assert predicted(sites, rule="change", threshold=0.04) == [False, False, False, True]
    assert "block_thresholds says 0" in reason(sites[2], rule="change")


def test_a_mask_tells_what_it_was_made_for():
    planned = SITE._replace(planned=True)
    assert reason(planned, rule="schedule") == "computed: the schedule says so"
    told = reason(planned, rule="schedule", mask="eb_cache", threshold=0.3)
    assert told == "computed: the mask eb_cache, made for block_threshold 0.3, says so"
    assert "made for interval 4, says so" in reason(planned, rule="schedule", mask="procache", interval=4)


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_interval_computes_one_evaluation_in_so_many(interval):
    skips, pattern = 0, []
    for _ in range(10):
        skip = predicted([SITE._replace(skips=skips)], rule="interval", interval=interval, max_consecutive_skips=1)[0]
        skips = skips + 1 if skip else 0
        pattern.append(not skip)
    assert sum(pattern) == 10 // interval
    assert pattern[interval - 1]


def test_expected_errors_of_what_is_predicted_add_up_to_no_more_than_the_threshold():
    sites = [SITE._replace(error=error, share=share) for error, share in ((0.4, 0.25), (0.1, 0.5), (0.2, 0.25))]
    assert predicted(sites, threshold=0.19) == [False] * 3  # weighted they are 0.1, 0.05 and 0.05
    assert predicted(sites, threshold=0.21) == [True] * 3
    assert "sum of expected errors above 0.19" in reasons_to_compute(FACTS, sites, BlockCacheConfig(0.19))[0]
    held = [sites[0]._replace(threshold=0.3), *sites[1:]]  # judged alone, so it adds nothing
    assert predicted(held, threshold=0.11) == [False, True, True]
    assert predicted(held, threshold=0.09) == [False] * 3


def test_a_block_with_a_threshold_of_its_own_is_held_to_that_alone():
    sites = [SITE._replace(error=0.2, share=0.1, threshold=own) for own in (None, 0.1, 0.3)]
    assert predicted(sites, threshold=0.1) == [True, False, True]
    assert predicted(sites, threshold=0.01) == [False, False, True]
    assert "expected error above 0.1" in reason(sites[1], threshold=5.0)


def test_an_error_that_is_no_number_is_within_no_threshold():
    """As of a picture of a batch that the model ruined."""
    for sites in ([SITE._replace(error=math.nan)], [SITE, SITE._replace(error=math.nan)]):
        assert not any(predicted(sites, threshold=10.0))
    assert not any(predicted([SITE._replace(error=math.nan, threshold=5.0)], threshold=10.0))


def test_without_a_measured_error_significance_computes():
    assert "no prediction error was measured yet" in reason(SITE._replace(error=None), threshold=10.0)


@pytest.mark.parametrize(
    ("degrees", "probability", "table"),
    [(1, 0.95, 3.841459), (10, 0.95, 18.307038), (100, 0.9, 118.498004), (1000, 0.99, 1106.968994)],
)
def test_chi_square_quantiles_are_those_of_the_tables(degrees, probability, table):
    assert chi_square_quantile(probability, degrees) == pytest.approx(table, rel=1e-7)


@pytest.mark.parametrize(("elements", "alpha", "bound"), [(294_912, 0.05, 1.0021), (12_582_912, 0.01, 1.00046)])
def test_the_papers_bound_is_degenerate_any_real_change_passes(elements, alpha, bound):
    """Numbers of DiT-XL/2 at 256 and Flux at 1024: a state may change by all of its own size."""
    assert math.sqrt(chi_square_quantile(1 - alpha, elements) / elements) == pytest.approx(bound, abs=1e-4)
    facts = Facts(**{**vars(FACTS), "elements": elements})
    sites = [SITE._replace(step=step) for step in (0.1, 0.9, 1.0, 1.01)]
    assert predicted(sites, facts, rule="paper_chi_square", alpha=alpha) == [True, True, True, False]
