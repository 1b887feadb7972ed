"""How the tests of time judge pairs of runs on a noisy machine."""

import numpy as np
import pytest

from tests.host.pairs import assert_at_most


def noisy(seed: int, cost: float) -> list[float]:
    """A pair on a machine whose runs differ by 5 %."""
    return [float(np.random.default_rng(seed).normal(cost, 0.05))]


def pairs_of(cost: float, world: int, asked: list[int]):
    def pair(seed: int) -> list[float]:
        asked.append(seed)
        return noisy(1000 * world + seed, cost)

    return pair


def test_what_costs_nothing_passes_on_a_noisy_machine():
    for world in range(200):
        assert_at_most(0.01, pairs_of(0.0, world, []))


def test_what_costs_a_tenth_fails_on_a_noisy_machine():
    for world in range(200):
        asked: list[int] = []
        with pytest.raises(pytest.fail.Exception, match="of 25 pairs"):
            assert_at_most(0.01, pairs_of(0.1, world, asked))
        assert asked == list(range(1, 26))


def test_a_quiet_machine_needs_five_pairs():
    asked: list[int] = []
    assert_at_most(0.02, lambda seed: asked.append(seed) or [0.0, 0.019])
    assert asked == [1, 2, 3, 4, 5]


def test_each_number_is_held_to_the_limit():
    with pytest.raises(pytest.fail.Exception, match=r"\[0.0, 0.021\] for at most 0.02; above it: \[0, 25\]"):
        assert_at_most(0.02, lambda _: [0.0, 0.021])
