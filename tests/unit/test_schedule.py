"""A mask in other runs: the same where it was made for them, else carried over by sigma."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache_core.config import BlockCacheConfig, FastCacheConfig
from fastcache_core.predictors import Forecast
from fastcache_core.schedule import Schedule
from fastcache_core.sites import level_of

from . import toys

SIGMAS = [1.0, 0.8, 0.6, 0.4, 0.2]
MASK = Schedule(SIGMAS, [[1, 1], [1, 0], [0, 0], [1, 0], [1, 1]], [[0, 0], [0, 0], [0.5, 0.25], [0.75, 0.5], [0, 0]])


def falling(steps, high=1.0):
    return np.linspace(high, high / steps, steps).tolist()


def test_at_its_own_sigmas_a_schedule_stays_what_it_is():
    assert MASK.carried(SIGMAS).computed == MASK.computed
    np.testing.assert_allclose(MASK.carried(SIGMAS).factors[2:4], [[0.5, 0.0], [0.75, 0.0]])


def test_twice_the_steps_compute_half_of_each_pair():
    """Every evaluation of the mask becomes two; where it computes, both are; the end takes the last row."""
    carried = MASK.carried(falling(10))
    assert [row[0] for row in carried.computed] == [1, 1, 1, 1, 0, 0, 1, 1, 1, 1]


@given(st.lists(st.integers(0, 1), min_size=6, max_size=40), st.integers(4, 80))
def test_as_large_a_part_is_computed_at_any_number_of_steps(rows, steps):
    rows[0] = rows[-1] = 1
    mask = Schedule(falling(len(rows)), [[row] for row in rows])
    work = np.mean(mask.carried(falling(steps)).computed)
    assert work == pytest.approx(mask.work, abs=3 / min(steps, len(rows)))


def test_steps_beyond_the_schedules_sigmas_are_computed():
    carried = Schedule([0.5, 0.4, 0.3, 0.2], [[1], [0], [0], [0]]).carried([1.0, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert [row[0] for row in carried.computed] == [1, 1, 0, 0, 0, 1]


def test_a_schedule_for_other_sigmas_is_refused():
    assert MASK.why_not([14.6, 9.0, 5.0, 2.0, 0.5]) == (
        "The profile's schedule is for sigmas from 1 to 0.2, but this run's go from 14.6 to 0.5, so it is not used; "
        "calibrate with this sampler and model sampling."
    )
    with pytest.raises(ValueError, match="this run's go from nothing"):
        MASK.carried([])
    assert MASK.why_not([0.5, 0.4]) is None


@pytest.mark.parametrize("sigmas", [[0.2, 0.4, 0.6, 0.8, 1.0], [1.0, 0.6, 0.2, 0.8, 0.4]])
def test_runs_that_go_back_are_computed(sigmas):
    """Sigmas that were turned around, to find an image's noise, and samplers that begin again."""
    run = run_with(toys.Profile("toy", 4, ["double 0", "double 1"], schedule=MASK), sigmas)
    assert computed(run) == [[1, 1]] * 5
    assert "The profile's schedule is for sigmas that fall, but this run's rise, so it is not used." in run.report.notes


def test_of_samplers_that_go_back_in_a_step_the_part_along_sigma_is_carried_over():
    """Heun++ evaluates s0 s1 s2, s1 s2 s3, ..."""
    sigmas = [1.0, 0.8, 0.6, 0.8, 0.6, 0.4, 0.6, 0.4, 0.2]
    mask = Schedule(sigmas, [[int(sigma in (1.0, 0.8))] for sigma in sigmas], [[sigma, 0.0] for sigma in sigmas])
    assert [row[0] for row in mask.carried(SIGMAS).computed] == [1, 1, 0, 0, 0]
    np.testing.assert_allclose(mask.carried(SIGMAS).factors[2:], [[0.6, 0], [0.4, 0], [0.2, 0]])
    curves = toys.Curves(sigmas, {"self": sigmas})
    assert [curves.at("self", sigma) for sigma in SIGMAS] == pytest.approx(SIGMAS)


def test_two_evaluations_of_one_sigma_belong_to_its_step():
    """A mask made with Heun, followed by Euler: a step is computed where both of its evaluations are."""
    sigmas = [1.0, *(sigma for sigma in SIGMAS[1:] for _ in range(2))]
    mask = Schedule(sigmas, [[int(sigma in (1.0, 0.6, 0.2))] for sigma in sigmas])
    assert [row[0] for row in mask.carried(SIGMAS).computed] == [1, 0, 1, 0, 1]


@pytest.mark.parametrize(("sigmas", "skips"), [(SIGMAS, True), ([1.0, 0.7, 0.5, 0.3], False)])
def test_few_steps_are_left_alone_unless_the_schedule_was_made_for_them(sigmas, skips):
    profile = toys.Profile("toy", 4, ["double 0", "double 1"], schedule=MASK)
    run = run_with(profile, sigmas, min_steps=8)
    assert (run.safety.off is None) is skips
    assert (run.report.to_json()["computed_fraction"] < 1) is skips


def run_with(profile, sigmas, **options):
    blocks, states = [toys.add_sigma(i - 0.5) for i in range(2)], toys.trajectory(len(sigmas))
    run = toys.make_run(blocks, [*sigmas, 0.0], 1.0, rule="schedule", profile=profile, warmup_evaluations=0, **options)
    for sigma, img in zip(sigmas, states, strict=True):
        toys.evaluate(run, blocks, sigma, img)
    return run


def computed(run):
    return run.report.to_json()["computed"]


def test_the_rule_follows_the_mask_block_by_block():
    profile = toys.Profile("toy", 4, ["double 0", "double 1"], schedule=MASK)
    run = run_with(profile, SIGMAS, level="block")
    assert computed(run) == MASK.computed
    assert computed(run_with(profile, SIGMAS, level="stack")) == [[1, 1], [1, 1], [0, 0], [1, 1], [1, 1]]


def test_the_forecasts_are_those_of_the_mask():
    profile = toys.Profile("toy", 4, ["double 0", "double 1"], schedule=MASK)
    run = run_with(profile, SIGMAS, level="block", forecast=None)
    assert run.memory.order == 2
    assert run.decider.plan.at(2, 0.6).forecast == Forecast(0.5, 0.25)


def test_other_steps_are_told_of():
    profile = toys.Profile("toy", 4, ["double 0", "double 1"], made_for={"sampler": "euler", "steps": 5}, schedule=MASK)
    report = run_with(profile, falling(10)).report.to_json()
    assert any("carried over by sigma" in note and "sampler euler, steps 5" in note for note in report["notes"])
    assert 0 in [row[0] for row in report["computed"]]


def test_other_sigmas_are_computed_and_told_of():
    profile = toys.Profile("toy", 4, ["double 0", "double 1"], schedule=MASK)
    report = run_with(profile, [14.6, 9.0, 5.0, 2.0, 0.5]).report.to_json()
    assert report["computed_fraction"] == 1
    assert any("this run's go from 14.6 to 0.5" in note for note in report["notes"])


@pytest.mark.parametrize(("rows", "level"), [([[1, 1], [0, 0]], "stack"), ([[1, 1], [0, 1]], "block")])
def test_a_mask_that_tells_blocks_apart_is_followed_block_by_block(rows: list[list[int]], level: str) -> None:
    config = FastCacheConfig(BlockCacheConfig(rule="schedule"))
    assert level_of(config, None, Schedule([1.0, 0.5], rows)) == level


@pytest.mark.parametrize(("recorded", "skipped"), [(5, True), (20, False)])
def test_few_steps_are_skipped_only_where_a_mask_was_made_for_as_few(recorded: int, skipped: bool) -> None:
    mask = Schedule(falling(recorded), [[1 - (0 < i < recorded - 1 and i % 2)] * 2 for i in range(recorded)])
    profile = toys.Profile("toy", 4, ["double 0", "double 1"], schedule=mask)
    report = run_with(profile, falling(5), min_steps=8).report.to_json()
    assert (report["computed_fraction"] < 1) == skipped
    assert any("5 steps are too few" in note for note in report["notes"]) != skipped
