"""The corrector: where what is carried is quadratic along the path, a sampler that was told wrong predictions arrives
all the same, whichever sampler it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastcache_core.config import BlockCacheConfig
from fastcache_core.corrector import Corrector, lagrange
from fastcache_core.path import AlongSigma, NoisePath
from fastcache_core.response import Response, ask
from tests.unit import samplers
from tests.unit.schemas import schemas

SIGMAS = (1.0, 0.9, 0.8, 0.7, 0.55, 0.4, 0.3, 0.2, 0.1, 0.0)
MASK = (1, 1, 1, 0, 1, 0, 0, 1, 1)  # what is computed of nine evaluations
TWICE = (1, 1, 1, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1)  # of seventeen or eighteen
IMAGE, VIDEO, GRAY = (2, 3, 4, 4), (2, 3, 2, 4, 4), (2, 1, 8)
ADDED = NoisePath(lambda sigma: (1.0, sigma))
Sampler = Callable[[Callable[[Tensor, float], Tensor], Tensor, Sequence[float]], Tensor]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(shape: Sequence[int], seed: int = 1) -> Callable[[float], Tensor]:
    """Of a place, with coefficients of their own for every number."""
    a, b, c = randn(3, *shape, seed=seed)
    return lambda place: 3 * a + b * place + c * place * place


def response_of(sampler: Sampler, sigmas: Sequence[float] = SIGMAS) -> Response:
    return ask(lambda model, noise: sampler(lambda x, sigma: model(x, sigma)[0], noise, sigmas), IMAGE)


class Told:
    """A model whose velocity, or denoised image, goes along a parabola; some evaluations are predicted, wrongly."""

    def __init__(
        self,
        corrector: Corrector | None,
        values: Callable[[float], Tensor],
        mask: Sequence[int] | None = None,
        path: NoisePath | None = None,
        velocity: bool = True,
        error: float = 0.3,
        guidance: Callable[[float], float] = lambda sigma: 1.0,
    ):
        self.corrector, self.values, self.mask, self.guidance = corrector, values, mask, guidance
        self.path, self.velocity, self.error = path or AlongSigma(), velocity, error
        self.calls, self.given = 0, list[tuple[Tensor, Tensor]]()

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        i, self.calls = self.calls, self.calls + 1
        predicted = self.mask is not None and not self.mask[min(i, len(self.mask) - 1)]
        value = self.values(self.path.place(sigma))
        value = value + self.error * randn(*x.shape, seed=10 + i) if predicted else value
        if self.velocity:
            value = x.double() / self.path.whole(sigma) - self.path.fraction(sigma) * value
        denoised = value.to(x.dtype)
        if self.corrector is None:
            return denoised
        told = self.corrector.correct(x, sigma, denoised, predicted, self.guidance(sigma))
        self.given.append((told, denoised))
        return told


def both(sampler: Sampler, mask: Sequence[int], sigmas: Sequence[float] = SIGMAS, shape=IMAGE, **options):
    """A corrector that has been through a run with wrong predictions, its result, and that of a run without."""
    velocity, path = options.get("velocity", True), options.get("path") or AlongSigma()
    corrector = Corrector(response_of(sampler, sigmas), path, velocity)
    values, noise = quadratic(shape), randn(*shape) * path.whole(sigmas[0])
    model = Told(corrector, values, mask, **options)
    return corrector, sampler(model, noise, sigmas), sampler(Told(None, values, **options), noise, sigmas), model


def test_lagrange_meets_every_quadratic():
    weights, nodes = lagrange(0.6, (0.2, 0.5, 0.9)), (0.2, 0.5, 0.9)
    assert sum(w * (2 - 3 * s + 5 * s * s) for w, s in zip(weights, nodes, strict=True)) == pytest.approx(2.0)
    assert lagrange(0.5, nodes) == pytest.approx([0, 1, 0])


def mask_for(sampler: Sampler) -> Sequence[int]:
    return TWICE if sampler in (samplers.heun, samplers.midpoint) else MASK


@pytest.mark.parametrize("sampler", samplers.LINEAR)
@pytest.mark.parametrize("velocity", [True, False])
def test_every_linear_sampler_arrives_where_it_would_have(sampler, velocity):
    sigmas, mask = (*SIGMAS[:-1], 0.05), mask_for(sampler)
    corrector, arrived, right, _ = both(sampler, mask, sigmas, velocity=velocity)
    plain = sampler(Told(None, quadratic(IMAGE), mask, velocity=velocity), randn(*IMAGE), sigmas)
    off, without = (float((found - right).norm()) for found in (arrived, plain))
    assert without > 1e-2
    # What a multistep sampler was paid stays in its memory for a while, and is not quite the end of it.
    assert off < (0.3 * without if sampler in (samplers.adams, samplers.multistep) else 1e-8)
    assert corrector.corrections >= 2 and corrector.off is None


@pytest.mark.parametrize("sampler", [samplers.adams, samplers.multistep])
def test_the_next_latent_of_a_multistep_sampler_is_right_as_soon_as_it_can_be(sampler):
    """After the evaluation that is computed, each x is where it would have been, whatever is in the memory."""
    runs = []
    for mask in (None, MASK):
        seen: list[Tensor] = []
        corrector = None if mask is None else Corrector(response_of(sampler), AlongSigma())
        told = Told(corrector, quadratic(IMAGE), mask)
        sampler(lambda x, sigma, told=told, seen=seen: (seen.append(x), told(x, sigma))[1], randn(*IMAGE), SIGMAS)
        runs.append(seen)
    off = [float((a - b).abs().max()) for a, b in zip(*runs, strict=True)]
    assert [value < 1e-9 for value in off] == [True, True, True, True, False, True, False, False, True]


def test_noise_told_as_an_addition_is_corrected_as_a_flow_is():
    sigmas = [sigma / (1 - sigma) for sigma in (0.98, *SIGMAS[1:-1])] + [0.0]
    corrector, arrived, right, _ = both(samplers.euler, MASK, sigmas, path=ADDED)
    torch.testing.assert_close(arrived, right, rtol=0, atol=1e-8)
    assert corrector.corrections == 2


def test_a_sampler_that_adds_noise_is_paid_back_too():
    corrector, arrived, right, _ = both(samplers.noisy, MASK, velocity=False)
    torch.testing.assert_close(arrived, right, rtol=0, atol=1e-9)
    assert corrector.corrections == 2


@pytest.mark.parametrize("shape", [IMAGE, VIDEO, GRAY, (1, 1, 1)])
def test_latents_of_any_shape(shape):
    _, arrived, right, _ = both(samplers.euler, MASK, shape=shape)
    torch.testing.assert_close(arrived, right, rtol=0, atol=1e-9)


def test_with_two_computed_evaluations_so_far_a_line_is_met():
    mask = (1, 0, 1, 1, 1, 1, 1, 1, 1)
    a, b = randn(2, *IMAGE)
    line, corrector = (lambda place: 3 * a + b * place), Corrector(response_of(samplers.euler), AlongSigma())
    arrived = samplers.euler(Told(corrector, line, mask), randn(*IMAGE), SIGMAS)
    torch.testing.assert_close(arrived, samplers.euler(Told(None, line), randn(*IMAGE), SIGMAS))


def test_right_predictions_change_nothing():
    _, arrived, right, _ = both(samplers.euler, MASK, error=0.0)
    torch.testing.assert_close(arrived, right, rtol=0, atol=1e-12)


def test_predicted_evaluations_and_what_follows_computed_ones_are_told_as_they_are():
    *_, model = both(samplers.euler, MASK)
    changed = [told is not denoised for told, denoised in model.given]
    assert changed == [False, False, False, False, True, False, False, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_loses_no_more_than_its_rounding(dtype):
    values, noise = quadratic(IMAGE), randn(*IMAGE).to(dtype)
    right = samplers.euler(Told(None, values), noise.double(), SIGMAS)
    plain = samplers.euler(Told(None, values), noise, SIGMAS).double()
    corrector = Corrector(response_of(samplers.euler), AlongSigma())
    arrived = samplers.euler(Told(corrector, values, MASK), noise, SIGMAS)
    assert arrived.dtype == dtype and corrector.corrections == 2
    assert (arrived.double() - right).abs().max() <= 6 * (plain - right).abs().max() + 6 * torch.finfo(dtype).eps


def test_a_sigma_that_came_back_in_float32_is_at_its_place():
    corrector = Corrector(response_of(samplers.euler), AlongSigma())
    rounded = [float(torch.tensor(sigma, dtype=torch.float32)) for sigma in SIGMAS]
    samplers.euler(Told(corrector, quadratic(IMAGE), MASK), randn(*IMAGE), rounded)
    assert corrector.corrections == 2 and corrector.off is None


@pytest.mark.parametrize("evaluations", [[1.0, 0.95, 0.9, 0.85], [0.9, 0.8, 0.7], [1.0, 0.9, 0.9]])
def test_a_sampler_that_goes_elsewhere_than_it_said_is_left_alone(evaluations):
    corrector, x = Corrector(response_of(samplers.euler), AlongSigma()), randn(*IMAGE)
    for i, sigma in enumerate(evaluations):
        denoised = randn(*IMAGE, seed=i)
        assert corrector.correct(x, sigma, denoised, predicted=i % 2 == 1) is denoised
    assert "evaluates elsewhere" in corrector.off and corrector.nbytes == 0


def test_evaluations_after_the_end_are_told_as_they_are():
    corrector, x = Corrector(response_of(samplers.euler, (1.0, 0.5, 0.0)), AlongSigma()), randn(*IMAGE)
    for sigma in (1.0, 0.5, 0.0, 0.0):
        denoised = randn(*IMAGE, seed=3)
        assert corrector.correct(x, sigma, denoised, predicted=True) is denoised
    assert corrector.corrections == 0 and corrector.off is not None


def held(places: Tensor, until: int = 99) -> Sampler:
    """Euler's method that puts places of the picture elsewhere after every step, as inpainting does."""

    def sampler(model, x, sigmas):
        for i, (sigma, following) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
            x = x + (following - sigma) * (x - model(x, sigma)) / sigma
            x = torch.where(places, randn(*x.shape, seed=50 + i), x) if i < until else x
        return x

    return sampler


RIGHT_HALF = torch.tensor([False, False, True, True])


def test_places_that_the_sampler_holds_do_not_stop_the_others():
    values, corrector = quadratic(IMAGE), Corrector(response_of(samplers.euler), AlongSigma())
    sampler = held(RIGHT_HALF)
    arrived = sampler(Told(corrector, values, MASK), randn(*IMAGE), SIGMAS)
    torch.testing.assert_close(arrived, sampler(Told(None, values), randn(*IMAGE), SIGMAS), rtol=0, atol=1e-9)
    assert corrector.corrections == 2


def test_places_that_were_put_elsewhere_in_a_gap_get_nothing():
    """As where a mask lets go of a part of the picture in mid-run."""
    model = Told(Corrector(response_of(samplers.euler), AlongSigma()), quadratic(IMAGE), MASK)
    held(RIGHT_HALF, until=7)(model, randn(*IMAGE), SIGMAS)
    told, denoised = model.given[7]  # after two that were predicted
    assert torch.equal(told[..., 2:], denoised[..., 2:])
    assert not torch.isclose(told[..., :2], denoised[..., :2]).any()


def test_a_sample_that_goes_elsewhere_stays_as_it_is_and_the_others_are_corrected():
    stray = torch.tensor([False, True]).reshape(2, 1, 1, 1)
    values, corrector = quadratic(IMAGE), Corrector(response_of(samplers.euler), AlongSigma())
    model = Told(corrector, values, MASK)
    arrived = held(stray)(model, randn(*IMAGE), SIGMAS)
    right = samplers.euler(Told(None, values), randn(*IMAGE), SIGMAS)
    torch.testing.assert_close(arrived[:1], right[:1], rtol=0, atol=1e-9)
    assert all(torch.equal(told[1], said[1]) for told, said in model.given)


@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_interpolated_across_a_jump_of_guidance(known):
    """Predictions are right, but the velocity jumps within the second gap: no parabola is right on both sides."""
    smooth, jump = quadratic(IMAGE), randn(*IMAGE, seed=8)

    def values(place: float) -> Tensor:
        return smooth(place) + (jump if place < 0.35 else 0)

    corrector = Corrector(response_of(samplers.euler), AlongSigma())
    told = Told(corrector, values, MASK, error=0.0, guidance=lambda sigma: float(known and sigma < 0.35))
    arrived = samplers.euler(told, randn(*IMAGE), SIGMAS)
    right = samplers.euler(Told(None, values), randn(*IMAGE), SIGMAS)
    assert torch.allclose(arrived, right, rtol=0, atol=1e-9) == known


def test_another_shape_in_mid_run_begins_anew():
    corrector, x = Corrector(response_of(samplers.euler), AlongSigma()), randn(*IMAGE)
    for i, (sigma, shape) in enumerate(zip(SIGMAS, [IMAGE] * 4 + [(2, 3, 8, 8)] * 5, strict=False)):
        x = x if x.shape == shape else randn(*shape)
        corrector.correct(x, sigma, x - sigma * randn(*shape, seed=4), predicted=i in (3, 4, 6))
    assert corrector.off is None


@settings(max_examples=40, deadline=None)
@given(
    mask=st.lists(st.booleans(), min_size=9, max_size=9),
    steps=st.lists(st.floats(0.05, 1.0), min_size=9, max_size=9),
    seed=st.integers(0, 1000),
)
def test_samples_of_a_batch_are_corrected_as_if_alone(mask, steps, seed):
    sigmas = [sum(steps[i:]) for i in range(9)] + [0.0]
    response, values, x = response_of(samplers.euler, sigmas), quadratic(IMAGE, seed + 1), randn(*IMAGE, seed=seed)
    errors = [randn(*IMAGE, seed=10 + i) * (0 if computed else 0.3) for i, computed in enumerate(mask)]

    def sampled(part: slice) -> Tensor:
        corrector, calls = Corrector(response, AlongSigma()), iter(range(9))

        def model(x: Tensor, sigma: float) -> Tensor:
            i = next(calls)
            return corrector.correct(x, sigma, x - sigma * (values(sigma) + errors[i])[part], not mask[i])

        return samplers.euler(model, x[part], sigmas)

    together = sampled(slice(None))
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], sampled(slice(i, i + 1)))


@settings(max_examples=40, deadline=None)
@given(
    mask=st.lists(st.booleans(), min_size=6, max_size=6),
    steps=st.lists(st.floats(0.3, 1.0), min_size=11, max_size=11),
    sampler=st.sampled_from([samplers.euler, samplers.noisy]),
)
def test_whatever_is_predicted_between_three_computed_ones_and_two_the_sampler_arrives(mask, steps, sampler):
    sigmas = [sum(steps[i:]) for i in range(11)] + [0.0]
    _, arrived, right, _ = both(sampler, [1, 1, 1, *mask, 1, 1], sigmas, velocity=sampler is samplers.euler)
    torch.testing.assert_close(arrived, right, rtol=0, atol=1e-7)


@pytest.mark.parametrize("sampler", samplers.LINEAR)
def test_what_is_kept_is_bounded_counted_and_let_go(sampler):
    """Whatever the number of steps: a few latents for what a sampler looks back to, and for one gap."""
    sigmas = [1 - i / 40 for i in range(41)]
    corrector, most = Corrector(response_of(sampler, sigmas), AlongSigma()), 0
    model = Told(corrector, quadratic(IMAGE), [1, 1, 1, 0, 0] * 40)

    def counting(x: Tensor, sigma: float) -> Tensor:
        nonlocal most
        told = model(x, sigma)
        most = max(most, corrector.nbytes // x.nbytes)
        return told

    sampler(counting, randn(*IMAGE), sigmas)
    assert 4 < most <= 26
    corrector.let_go()
    assert corrector.nbytes == 0


def test_the_widget_comes_last_and_graphs_from_before_it_do_without():
    (node,) = (schema for schema in schemas() if schema.node_id == "FastCacheBlockCache")
    *others, widget, _ = node.inputs  # the last is a socket
    assert widget.id == "corrector" and widget.optional and widget.default is BlockCacheConfig().corrector
    assert not any(other.optional for other in others)
