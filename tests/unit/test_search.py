"""Masks: dynamic programming against trying all of them, and greedy masks over blocks."""

import itertools

import numpy as np
import pytest

from fastcache_core.calibration.search import UNTIL_CORRECTED, MaskSearch, greedy_blocks, parts_of_steps


def gram_of(columns):
    """Inner products of q [evaluations, numbers]."""
    q = np.asarray(columns, float)
    return q @ q.T


def walk(evaluations, seed=0):
    return np.random.default_rng(seed).normal(size=(evaluations, 40)).cumsum(axis=0)


SIGMAS = np.linspace(1, 0.1, 9).tolist()


@pytest.mark.parametrize("computed", [2, 3, 4, 6, 9])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_mask_is_better_than_the_one_found(computed, seed):
    search = MaskSearch(gram_of(walk(9, seed)), SIGMAS)
    middle = itertools.combinations(range(1, 8), computed - 2)
    least = min(search.cost((0, *chosen, 8)) for chosen in middle)
    assert search.cost(search.best(computed)) == pytest.approx(least)
    assert len(search.best(computed)) == computed


def test_where_everything_moves_is_where_it_is_computed():
    """Nothing changes but between evaluations 3 and 5: those are computed."""
    place = np.zeros((9, 1))
    place[4:], place[5:] = 1.0, -2.0
    assert set(MaskSearch(gram_of(place + 5), SIGMAS).best(5)) >= {0, 4, 5, 8}


def test_a_straight_line_costs_next_to_nothing():
    line = np.outer(np.arange(9), np.ones(3)) + 1
    search = MaskSearch(gram_of(line), SIGMAS)
    assert search.cost((0, 1, 8)) < 1e-3 * search.cost((0, 8))


def test_large_steps_of_sigma_count_for_more():
    sigmas = [1.0, 0.99, 0.98, 0.5, 0.1]
    search = MaskSearch(gram_of(walk(5)), sigmas)
    assert search.steps[2] > 10 * search.steps[0]


def test_a_sigma_that_was_evaluated_twice_is_one_node_of_the_interpolation():
    """Where residuals are quadratic in sigma, what comes between three of them costs a tenth of what it was off by."""
    sigmas = [1.0, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2]
    search = MaskSearch(gram_of([[3.0, s, s * s] for s in sigmas]), sigmas)
    assert search.corrected
    off = sum(search.steps[i] ** 2 * search.error(i, (4, 3, 2)) for i in (5, 6))
    assert search.cost((0, 1, 2, 3, 4, 7, 8)) == pytest.approx(UNTIL_CORRECTED * off, abs=1e-12) and off > 0


@pytest.mark.parametrize(
    ("sigmas", "corrected"),
    [
        ([1.0, 0.5, 0.2], True),
        ([1.0, 0.5, 0.5, 0.2, 0.2], True),  # Heun's method
        ([1.0, 0.7, 0.5, 0.35, 0.2], True),  # midpoints
        ([1.0, 0.5, 0.2, 0.5, 0.2], False),
        ([0.0, 0.5, 1.0], False),
    ],
)
def test_what_will_be_corrected_shows_in_the_sigmas(sigmas, corrected):
    assert MaskSearch(np.eye(len(sigmas)), sigmas).corrected is corrected


def test_the_two_evaluations_of_a_step_of_second_order_share_it():
    """Heun from 1 over 0.6 to 0.2: the first step's, the second's, and the last one's only evaluation."""
    twice = MaskSearch(gram_of(walk(5)), [1.0, 0.6, 0.6, 0.2, 0.2])
    assert twice.steps == pytest.approx([1, 1, 1, 1, 1])
    assert parts_of_steps([1.0, 0.5, 0.5]) == pytest.approx([0.75, 0.75, 1.5])
    assert parts_of_steps([0.0, 0.0]).tolist() == [1, 1]


def test_nothing_counts_as_corrected_where_sigmas_turn_back():
    q = np.outer([0, 1, 1, 2, 2, 3, 3], np.ones(3))
    search = MaskSearch(gram_of(q), [0.7, 0.6, 0.65, 0.5, 0.55, 0.4, 0.3])
    missed = {1: (0,), 2: (0,), 4: (3, 0), 5: (3, 0)}
    wanted = sum(search.steps[i] ** 2 * search.error(i, missed[i]) for i in missed)
    assert search.cost((0, 3, 6)) == pytest.approx(wanted)


def test_neighbours_differ_by_one_anchor_and_come_cheapest_first():
    search = MaskSearch(gram_of(walk(9)), SIGMAS)
    found = search.neighbours((0, 1, 4, 8))
    assert (0, 1, 4, 8) not in found
    assert all(len(set(mask) & {0, 1, 4, 8}) == 3 and mask[0] == 0 and mask[-1] == 8 for mask in found)
    assert [search.cost(mask) for mask in found] == sorted(search.cost(mask) for mask in found)


@pytest.mark.parametrize("computed", [1, 10])
def test_impossible_numbers_are_refused(computed):
    with pytest.raises(ValueError, match=f"{computed} of 9 evaluations cannot be computed"):
        MaskSearch(gram_of(walk(9)), SIGMAS).best(computed)


def test_sparse_masks_reach_the_end():
    search = MaskSearch(gram_of(walk(40)), np.linspace(1, 0, 40).tolist())
    assert search.best(3)[-1] == 39


def changes(blocks=3, evaluations=10, gaps=4):
    """Block b changes b times as fast as block 1, block 0 never."""
    return np.array([[[b * (g + 1.0) for g in range(gaps)] for _ in range(evaluations)] for b in range(blocks)])


def test_blocks_that_never_change_are_dropped_first():
    mask = greedy_blocks(changes(), work=0.8)
    assert mask.mean() == pytest.approx(0.8, abs=0.02)
    assert mask[0].all()
    assert mask[-1].all()
    assert mask[:, 2].all()
    assert mask[:, 0].sum() < mask[:, 1].sum()


def test_no_block_is_reused_beyond_what_was_measured():
    mask = greedy_blocks(changes(gaps=2), work=0.0)
    assert all(sum(run) for column in mask.T for run in zip(column, column[1:], column[2:], strict=False))
