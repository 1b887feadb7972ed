import pytest
import torch

from fastcache_core.linear import PerChannel
from fastcache_core.predictors import REUSE, Forecast, History, LinearHistory, damping_at
from fastcache_core.store import Store


def residual(sigma, shape=(1, 3, 2)):
    return torch.full(shape, 10.0 * sigma)


def test_reuse_adds_the_last_residual():
    history = History(residual(1.0), 1.0, order=0)
    history.remember(residual(0.8), 0.8)
    h = torch.randn(1, 3, 2)
    assert torch.equal(history.predict(h, 0.1), h + residual(0.8))
    assert history.difference(h.device) is None


def test_extrapolation_meets_a_residual_that_is_linear_in_sigma():
    history = History(residual(1.0), 1.0)
    history.remember(residual(0.7), 0.7)  # uneven steps: sigma, not the step number, counts
    torch.testing.assert_close(history.predict(torch.zeros(1, 3, 2), 0.2), residual(0.2))


def test_damping_is_less_nearer_and_more_farther_away():
    assert [damping_at(ahead, 0.5) for ahead in (0.0, 1.0, 2.0)] == [0.75, 0.5, 0.25]
    assert [damping_at(ahead, 1.0) for ahead in (0.0, 1.0, 4.0)] == [1.0, 1.0, 1.0]
    assert damping_at(4.0, 0.5) == 0.0 and damping_at(0.0, -1.0) == 0.0
    assert damping_at(torch.tensor([0.0, 1.0, 4.0]), torch.tensor(0.5)).tolist() == [0.75, 0.5, 0.0]


@pytest.mark.parametrize("tokens_apart", [False, True])
def test_a_parabola_is_met_at_every_distance_once_its_bend_was_measured_at_one(tokens_apart):
    """The residual rises ever more slowly, 0, 8, 14, 18, 20 at even steps."""

    def bent(steps):
        return residual(1.0) * (8 * steps - steps * (steps - 1)) / 10

    history, h = History(bent(0), 1.0), torch.zeros(1, 3, 2)
    if tokens_apart:
        history.remember_rows(torch.tensor([[0, 1, 2]]), bent(1), 0.9)
    else:
        history.remember(bent(1), 0.9)
    found = history.offset(bent(3), h, 0.7, REUSE, slice(None))
    damping = found.along / found.length
    assert damping.tolist() == pytest.approx([0.75])  # one step ahead, 6 is right in place of 8
    for steps in (1.5, 2, 3):
        predicted = history.predict(h, 1 - steps / 10, Forecast(damping, bent=True))
        torch.testing.assert_close(predicted, bent(steps))


def test_damping_takes_that_part_of_the_way():
    history = History(residual(1.0), 1.0)
    history.remember(residual(0.5), 0.5)
    predicted = history.predict(torch.zeros(1, 3, 2), 0.1, Forecast(0.75))
    torch.testing.assert_close(predicted, residual(0.5 - 0.75 * 0.4))


def test_the_second_term_meets_a_residual_that_is_quadratic_in_sigma():
    """At uneven distances; second-order Taylor, as Newton interpolates."""
    history = History(residual(1.0) ** 2, 1.0, order=2)
    for sigma in (0.7, 0.6):
        history.remember(residual(sigma) ** 2, sigma)
    predicted = history.predict(torch.zeros(1, 3, 2), 0.4, Forecast(1.0, 1.0))
    torch.testing.assert_close(predicted, residual(0.4) ** 2)
    assert history.nbytes == 3 * 24


def test_weights_hold_whatever_the_distance():
    history = History(residual(1.0), 1.0, order=2)
    history.remember(residual(0.7), 0.7)
    history.remember(residual(0.6), 0.6)
    for sigma in (0.5, 0.1):
        predicted = history.predict(torch.zeros(1, 3, 2), sigma, Forecast(0.5, 2.0, in_sigma=False))
        torch.testing.assert_close(predicted, residual(0.6 - 0.5 * 0.1 - 2 * 0.3))


def test_where_sigma_turned_back_the_second_term_is_left_out():
    """Samplers that add noise go back; the first term alone then counts."""
    history = History(residual(0.5), 0.5, order=2)
    history.remember(residual(0.7), 0.7)
    history.remember(residual(0.5), 0.5)
    torch.testing.assert_close(history.predict(torch.zeros(1, 3, 2), 0.4, Forecast(1.0, 1.0)), residual(0.4))


@pytest.mark.parametrize("again", [0.8, 0.8 - 6e-8])
def test_a_sigma_evaluated_twice_keeps_the_difference_it_had(again):
    """Second-order samplers do that, some a rounding error apart: dividing by that distance would explode."""
    history = History(residual(1.0), 1.0)
    history.remember(residual(0.8), 0.8)
    history.remember(residual(0.8) + 0.1, again)
    torch.testing.assert_close(history.predict(torch.zeros(1, 3, 2), 0.6), residual(0.6) + 0.1)
    rows = torch.tensor([[0, 1, 2]])
    history.remember_rows(rows, residual(0.8) + 0.2, again)
    torch.testing.assert_close(history.predict(torch.zeros(1, 3, 2), 0.6), residual(0.6) + 0.2)


def test_a_residual_is_not_carried_farther_than_four_times_the_last_distance():
    history = History(residual(1.0), 1.0)
    history.remember(residual(0.99), 0.99)
    torch.testing.assert_close(history.predict(torch.zeros(1, 3, 2), 0.1), residual(0.95))


def test_large_residuals_at_close_sigmas_stay_finite_in_half_precision():
    old, new = (torch.full((1, 3, 2), value, dtype=torch.float16) for value in (3000.0, 2300.0))
    history = History(old, 0.02)
    history.remember(new, 0.01)
    assert history.predict(torch.zeros_like(new), 0.005).isfinite().all()


def test_tokens_remembered_apart_extrapolate_from_their_own_anchors():
    history = History(residual(1.0), 1.0)
    history.remember(residual(0.9), 0.9)
    history.remember_rows(torch.tensor([[1]]), residual(0.6, (1, 1, 2)), 0.6)
    torch.testing.assert_close(history.predict(torch.zeros(1, 3, 2), 0.5), residual(0.5))
    assert history.place.flatten().tolist() == pytest.approx([0.9, 0.6, 0.9])
    history.remember(residual(0.3), 0.3)
    torch.testing.assert_close(history.predict(torch.zeros(1, 3, 2), 0.1), residual(0.1))
    assert isinstance(history.place, float)


def test_prediction_leaves_its_input_and_its_memory_alone():
    history = History(residual(1.0), 1.0)
    history.remember(residual(0.5), 0.5)
    h, version = torch.zeros(1, 3, 2), torch.zeros(1)._version
    y = history.predict(h, 0.2)
    y.fill_(99)
    assert h._version == version
    torch.testing.assert_close(history.predict(h, 0.2), residual(0.2))


def test_a_history_counts_its_bytes_and_knows_what_fits():
    history = History(residual(1.0), 1.0)
    assert history.nbytes == 24
    history.remember(residual(0.5), 0.5)
    assert history.nbytes == 48
    assert history.fits(torch.zeros(1, 3, 2))
    assert not history.fits(torch.zeros(1, 4, 2))
    assert not history.fits(torch.zeros(1, 3, 2, dtype=torch.float16))


@pytest.mark.parametrize("scale", [2.0, -3.0])
def test_a_linear_part_beyond_half_precision_is_no_nan(scale):
    """Models in half precision clip their states there."""
    h, r = torch.full((1, 2, 2), 4e4, dtype=torch.float16), torch.ones(1, 2, 2, dtype=torch.float16)
    history = LinearHistory(r, 1.0, 1, Store(), h, PerChannel(torch.full((2,), scale, dtype=torch.float16)))
    assert history.predict(h, 0.9).isfinite().all()
    history.remember(-r, 0.8, h)
    assert history.predict(h + 100, 0.7).isfinite().all()


def tracks(linear, samples=2, tokens=4, width=3):
    """A history of two anchors, and the residual and state to come: numbers without any order."""
    numbers = torch.randn(6, samples, tokens, width, generator=torch.Generator().manual_seed(1))
    states, residuals = numbers[:3], numbers[3:]
    if linear is None:
        history = History(residuals[0].clone(), 1.0)
    else:
        history = LinearHistory(residuals[0].clone(), 1.0, 1, Store(), states[0].clone(), linear)
    history.remember(residuals[1].clone(), 0.8, states[1].clone())
    return history, residuals[2], states[2]


LINEAR = [None, PerChannel(torch.tensor([0.5, -1.0, 2.0]))]
BESIDE = Forecast(0.5)


@pytest.mark.parametrize("linear", LINEAR)
def test_rows_that_are_all_there_are_give_the_offset_of_the_whole(linear):
    history, residual, h = tracks(linear)
    whole = history.offset(residual, h, 0.6, BESIDE, slice(None))
    rows = torch.tensor([[3, 1, 0, 2]] * 2)
    shuffled = (part.gather(1, rows[..., None].expand(-1, -1, 3)) for part in (residual, h))
    apart = history.offset_of_rows(rows, *shuffled, torch.ones(2, 4, 1, dtype=torch.bool), 0.6, BESIDE)
    torch.testing.assert_close(tuple(apart), tuple(whole))


@pytest.mark.parametrize("linear", LINEAR)
def test_repeated_rows_do_not_count_and_a_batch_is_measured_as_its_samples_are(linear):
    history, residual, h = tracks(linear)
    rows, counted = torch.tensor([[0, 2, 3], [1, 1, 1]]), torch.tensor([[[1], [1], [1]], [[1], [0], [0]]]).bool()
    wide = rows[..., None].expand(-1, -1, 3)
    together = history.offset_of_rows(rows, residual.gather(1, wide), h.gather(1, wide), counted, 0.6, BESIDE)
    alone = []
    for sample, chosen in enumerate(([0, 2, 3], [1])):
        history, residual, h = tracks(linear)
        for name in ("_residual", "_difference"):
            setattr(history, name, getattr(history, name)[sample : sample + 1])
        history.shape = history._residual.shape
        here = slice(sample, sample + 1)
        parts = residual[here, chosen], h[here, chosen], torch.ones(1, len(chosen), 1, dtype=torch.bool)
        alone.append(history.offset_of_rows(torch.tensor([chosen]), *parts, 0.6, BESIDE))
    for name in ("error", "size"):
        squares = torch.stack([getattr(one, name) for one in alone]).square().sum()
        torch.testing.assert_close(getattr(together, name).square(), squares)
    for name in ("along", "length"):
        torch.testing.assert_close(getattr(together, name), torch.cat([getattr(one, name) for one in alone]))


def test_the_offset_of_a_row_by_hand():
    """r = 3, reused 1, last difference 1 over as far as it is to go: reuse is 2 off, half of the step 1.5."""
    history = History(torch.zeros(1, 2, 1), 1.0)
    history.remember(torch.ones(1, 2, 1), 0.8)
    everything = torch.ones(1, 1, 1, dtype=torch.bool)
    parts = torch.tensor([[1]]), torch.full((1, 1, 1), 3.0), torch.zeros(1, 1, 1), everything, 0.6
    assert [float(part) for part in history.offset_of_rows(*parts, BESIDE)] == pytest.approx([1.5, 3, 2, 1], rel=1e-4)
    assert [float(part) for part in history.offset_of_rows(*parts, REUSE)] == pytest.approx([2, 3, 2, 1], rel=1e-4)
