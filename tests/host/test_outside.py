"""Beyond the demo's own ground: other ways to tell noise, other samplers, guiders, schedules and numbers.

What is measured is printed: pytest -s.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from .test_in_process import run


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    done = run("tests.host.outside")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    for name, what in measured.items():
        print(f"\n{name}: {what}")
    return measured


@pytest.mark.parametrize(
    ("cell", "work", "ahead"),
    [
        ("half, dpmpp_2m", 0.5, 4),
        ("half, deis", 0.5, 6),
        ("half, ipndm", 0.5, 6),
        ("noise, er_sde", 0.7, 10),
        ("noise, euler_ancestral", 0.7, 10),
        ("wide, euler", 0.75, 0),
        ("wide, dpmpp_2m", 0.75, 0),
        ("wide, v", 0.75, 5),
        ("eps", 0.6, 5),
    ],
)
def test_every_sampler_and_every_way_to_tell_noise_is_ahead_of_plain_steps(found, cell, work, ahead):
    """At the same or the next larger work: so many dB in the mean, and not behind in the worst of twelve pictures."""
    measured = found[cell]
    assert measured["work"] <= work
    assert measured["ours"][0] >= measured["plain"][0] + ahead
    assert measured["lead"] >= -0.5


@pytest.mark.parametrize(("case", "decibels"), [("float64", 40), ("float16", 35), ("repeated", 40)])
def test_numbers_of_other_precision_and_sigmas_that_come_again_are_skipped_and_close(found, case, decibels):
    assert found[case]["work"] <= 0.6 and found[case]["ours"][0] >= decibels


def test_a_sampler_is_known_by_what_it_does_and_not_by_its_parameters(found):
    assert found["hidden noise"] == found["open noise"]


def test_where_a_schedule_ends_in_two_zeros_its_last_real_evaluations_are_computed(found):
    mask = found["padded"]["mask"]
    assert len(mask) == 12 and mask[-3:-1] == "11" and "0" in mask
    assert found["padded"]["ours"][0] >= 35


def test_a_guider_that_goes_past_what_comfyui_wraps_is_seen_all_the_same(found):
    assert found["past the guider"]["mask"] == found["float64"]["mask"] and found["past the guider"]["ours"][0] > 40


def test_what_another_cache_answered_is_told(found):
    assert any(note.startswith("Another cache on this model answered") for note in found["another cache"]["notes"])
    assert not any("Another cache" in note for note in found["float64"]["notes"])


def test_thresholds_of_zero_change_nothing(found):
    assert found["plain steps that are asked for"]["same"]
