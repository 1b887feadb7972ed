"""The corrector: where d is quadratic in sigma, a sampler that was given wrong predictions arrives all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastcache_core.config import BlockCacheConfig
from fastcache_core.corrector import Corrector, lagrange
from tests.unit.schemas import schemas

SIGMAS = (1.0, 0.9, 0.8, 0.7, 0.55, 0.4, 0.3, 0.2, 0.1, 0.0)
MASK = (1, 1, 1, 0, 1, 0, 0, 1, 1)  # what is computed of these nine evaluations
IMAGE, VIDEO, GRAY = (2, 3, 4, 4), (2, 3, 2, 4, 4), (2, 1, 8)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(shape: Sequence[int], seed: int = 1) -> Callable[[float], Tensor]:
    """d of sigma, with coefficients of their own for every number."""
    a, b, c = randn(3, *shape, seed=seed)
    return lambda sigma: 3 * a + b * sigma + c * sigma * sigma


def wrong(shape: Sequence[int], mask: Sequence[int] = MASK) -> list[Tensor]:
    """By how much d is off at every evaluation; by about a tenth where it is predicted."""
    return [randn(*shape, seed=10 + i) * (0.0 if computed else 0.3) for i, computed in enumerate(mask)]


def euler(
    corrector: Corrector,
    x: Tensor,
    d_at: Callable[[float], Tensor],
    errors: Sequence[Tensor],
    mask: Sequence[int] = MASK,
    after_step: Callable[[Tensor], Tensor] = lambda x: x,
    sigmas: Sequence[float] = SIGMAS,
    guidance: Callable[[float], float] = lambda sigma: 1.0,
) -> list[Tensor]:
    """The latents after every step; after_step: what else the sampler does to them; guidance: its scale."""
    path = []
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = x - sigma * (d_at(sigma) + errors[i]).to(x)
        given = corrector.correct(x, sigma, denoised, not mask[i], guidance(sigma))
        x = after_step(x + (following - sigma) * (x - given) / sigma)
        path.append(x)
    return path


def both(shape: Sequence[int], sigmas: Sequence[float] = SIGMAS, mask: Sequence[int] = MASK) -> tuple:
    """A corrector that has been through a run with wrong predictions, its latents, and those of a run without."""
    d_at, x, corrector = quadratic(shape), randn(*shape), Corrector(sigmas)
    right = euler(Corrector(sigmas), x, d_at, [torch.zeros(())] * len(mask), [1] * len(mask), sigmas=sigmas)
    return corrector, euler(corrector, x, d_at, wrong(shape, mask), mask, sigmas=sigmas), right


def heun(
    corrector: Corrector,
    x: Tensor,
    d_at: Callable[[float], Tensor],
    mask: Sequence[int],
    sigmas: Sequence[float] = SIGMAS,
    after_step: Callable[[Tensor], Tensor] = lambda x: x,
) -> list[Tensor]:
    """The latents after every step of Heun's method; mask: which evaluations are computed, the others are wrong."""
    errors, path = zip(mask, wrong(x.shape, mask), strict=True), []

    def evaluate(x: Tensor, sigma: float) -> Tensor:
        computed, error = next(errors)
        return (x - corrector.correct(x, sigma, x - sigma * (d_at(sigma) + error), predicted=not computed)) / sigma

    for sigma, following in pairwise(sigmas):
        d, step = evaluate(x, sigma), following - sigma
        d = (d + evaluate(x + step * d, following)) / 2 if following else d
        x = after_step(x + step * d)
        path.append(x)
    return path


def test_lagrange_meets_every_quadratic():
    weights, nodes = lagrange(0.6, (0.2, 0.5, 0.9)), (0.2, 0.5, 0.9)
    assert sum(w * (2 - 3 * s + 5 * s * s) for w, s in zip(weights, nodes, strict=True)) == pytest.approx(2.0)
    assert lagrange(0.5, nodes) == pytest.approx([0, 1, 0])


@pytest.mark.parametrize("shape", [IMAGE, VIDEO, GRAY, (1, 1, 1)])
def test_the_sampler_arrives_where_it_would_have(shape):
    corrector, path, right = both(shape)
    for i in range(len(MASK)):
        computed = MASK[i] == 1
        assert torch.allclose(path[i], right[i], rtol=0, atol=1e-12) == computed, f"evaluation {i + 1}"
    assert corrector.corrections == 2 and corrector.off is None


def test_with_two_computed_evaluations_so_far_a_linear_derivative_is_met():
    a, b = randn(2, *IMAGE)
    mask = (1, 0, 1, 1, 1, 1, 1, 1, 1)
    line, x = (lambda sigma: 3 * a + b * sigma), randn(*IMAGE)
    right = euler(Corrector(SIGMAS), x, line, [torch.zeros(())] * 9, [1] * 9)
    torch.testing.assert_close(euler(Corrector(SIGMAS), x, line, wrong(IMAGE, mask), mask)[-1], right[-1])


def test_right_predictions_change_nothing():
    d_at, x, corrector = quadratic(IMAGE), randn(*IMAGE), Corrector(SIGMAS)
    plain = euler(Corrector(SIGMAS), x, d_at, [torch.zeros(())] * 9, [1] * 9)
    path = euler(corrector, x, d_at, [torch.zeros(())] * 9)
    torch.testing.assert_close(torch.stack(path), torch.stack(plain), rtol=0, atol=1e-13)
    assert corrector.corrections == 2


def test_what_is_computed_after_computed_ones_is_given_on_as_it_is():
    corrector, x = Corrector(SIGMAS), randn(*IMAGE)
    for sigma in SIGMAS[:-1]:
        denoised = randn(*IMAGE, seed=round(100 * sigma))
        assert corrector.correct(x, sigma, denoised, predicted=False) is denoised


def test_predicted_evaluations_and_the_last_are_given_on_as_they_are():
    corrector, x = Corrector(SIGMAS), randn(*IMAGE)
    for i, sigma in enumerate(SIGMAS[:-1]):
        denoised = x - sigma * randn(*IMAGE, seed=i)
        given = corrector.correct(x, sigma, denoised, predicted=i in (3, 4, 5, 6, 7))
        if i >= 3:
            assert given is denoised  # the last one is computed, and is owed something
        x = x + (SIGMAS[i + 1] - sigma) * (x - given) / sigma
    assert corrector.corrections == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_loses_no_more_than_its_rounding(dtype):
    d_at, x = quadratic(IMAGE), randn(*IMAGE).to(dtype)
    none = [torch.zeros(())] * 9
    right = euler(Corrector(SIGMAS), x.double(), d_at, none, [1] * 9)[-1]
    plain, corrected = (
        (euler(Corrector(SIGMAS), x, d_at, errors, mask)[-1].double() - right).abs().max()
        for errors, mask in ((none, [1] * 9), (wrong(IMAGE), MASK))
    )
    assert corrected <= 4 * plain + 4 * torch.finfo(dtype).eps


def test_a_sigma_that_came_back_in_float32_is_at_its_place():
    sigmas = [float(torch.tensor(sigma, dtype=torch.float32)) for sigma in SIGMAS]
    d_at, x, corrector = quadratic(IMAGE), randn(*IMAGE), Corrector(SIGMAS)
    errors = wrong(IMAGE)
    for i, sigma in enumerate(sigmas[:-1]):
        given = corrector.correct(x, sigma, x - sigma * (d_at(sigma) + errors[i]), predicted=not MASK[i])
        x = x + (sigmas[i + 1] - sigma) * (x - given) / sigma
    right = euler(Corrector(SIGMAS), randn(*IMAGE), d_at, [torch.zeros(())] * 9, [1] * 9)[-1]
    torch.testing.assert_close(x, right, rtol=0, atol=1e-6)
    assert corrector.corrections == 2 and corrector.off is None


def untouched(corrector: Corrector, evaluations: Sequence[float], moves: Callable[[Tensor, float], Tensor]) -> None:
    """Every other evaluation is predicted; nothing that the sampler is given may differ from what the model said."""
    x = randn(*IMAGE)
    for i, sigma in enumerate(evaluations):
        denoised = randn(*IMAGE, seed=20 + i)
        assert torch.equal(corrector.correct(x, sigma, denoised, predicted=i % 2 == 1), denoised)
        x = moves(x, sigma)
    assert corrector.off is not None and corrector.corrections == 0 and corrector.nbytes == 0


@pytest.mark.parametrize("first", [1.0, 0.9])
def test_a_sampler_that_adds_noise_is_left_alone_though_its_first_step_may_follow(first):
    corrector = Corrector(SIGMAS)

    def moves(x: Tensor, sigma: float) -> Tensor:
        d = (x - randn(*IMAGE, seed=20)) / sigma
        return x - 0.1 * d if sigma > first else x + randn(*IMAGE, seed=round(1000 * sigma))

    untouched(corrector, SIGMAS[:-1], moves)
    assert "does not go where d leads" in corrector.off


@pytest.mark.parametrize(
    "evaluations",
    [
        [1.0, 0.9, 0.9, 0.8, 0.7],  # Heun at first
        [1.0, 0.95, 0.9, 0.85, 0.8, 0.75],  # dpm_2
        [0.9, 0.8, 0.7],  # begins elsewhere
    ],
)
def test_samplers_with_other_evaluations_than_the_schedules_are_left_alone(evaluations):
    """They follow d nevertheless, so that it is the sigmas that give them away."""
    corrector, x = Corrector(SIGMAS), randn(*IMAGE)
    d = randn(*IMAGE, seed=5)
    for i, (sigma, following) in enumerate(zip(evaluations, [*evaluations[1:], 0.0], strict=True)):
        denoised = x - sigma * d
        assert corrector.correct(x, sigma, denoised, predicted=i % 2 == 1) is denoised
        x = x + (following - sigma) * d
    assert "evaluates its schedule's sigmas neither once each nor as both ends of a step" in corrector.off
    assert corrector.corrections == 0 and corrector.nbytes == 0


@pytest.mark.parametrize(
    "sigmas", [(1.0, 0.6, 0.3, 0.7, 0.4, 0.0), (1.0, 0.6, 0.6, 0.3, 0.0), (1.0, 0.5, 0.0, -0.5, -1.0)]
)
def test_where_sigmas_do_not_fall_or_are_not_positive_correction_ends(sigmas):
    corrector, x = Corrector(sigmas), randn(*IMAGE)
    for i, sigma in enumerate(sigmas[:-1]):
        denoised = x - sigma * randn(*IMAGE, seed=i)
        assert torch.equal(corrector.correct(x, sigma, denoised, predicted=i == 1), denoised)
        if sigma:
            x = x + (sigmas[i + 1] - sigma) * (x - denoised) / sigma
    assert corrector.corrections == 0 and corrector.off is not None


@pytest.mark.parametrize("sigmas", [(), (1.0,), (1.0, 0.0), (1.0, 0.5, 0.0)])
def test_short_schedules_and_evaluations_after_their_end(sigmas):
    corrector, x = Corrector(sigmas), randn(*IMAGE)
    for sigma in (*sigmas[:-1], 0.0, 0.0):
        denoised = randn(*IMAGE, seed=3)
        assert corrector.correct(x, sigma, denoised, predicted=True) is denoised
    assert corrector.corrections == 0 and corrector.off is not None


def put_back(x: Tensor) -> Tensor:
    """As inpainting does after every step: half of the picture is what is held."""
    hold = torch.zeros(4, 4).bool()
    hold[:, 2:] = True
    return torch.where(hold, randn(*IMAGE, seed=9), x)


def test_places_that_the_sampler_holds_do_not_stop_the_others():
    d_at, x = quadratic(IMAGE), randn(*IMAGE)
    right = euler(Corrector(SIGMAS), x, d_at, [torch.zeros(())] * 9, [1] * 9, put_back)
    corrector = Corrector(SIGMAS)
    path = euler(corrector, x, d_at, wrong(IMAGE), after_step=put_back)
    torch.testing.assert_close(path[-1], right[-1], rtol=0, atol=1e-12)
    assert corrector.corrections == 2


def test_a_sample_that_goes_elsewhere_stays_as_it_is_and_the_others_are_corrected():
    stray = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    d_at, x, corrector = quadratic(IMAGE), randn(*IMAGE), Corrector(SIGMAS)
    errors, given = wrong(IMAGE), []
    right = euler(Corrector(SIGMAS), x, d_at, [torch.zeros(())] * 9, [1] * 9)
    for i, sigma in enumerate(SIGMAS[:-1]):
        denoised = x - sigma * (d_at(sigma) + errors[i])
        given.append((corrector.correct(x, sigma, denoised, predicted=not MASK[i]), denoised))
        x = x + (SIGMAS[i + 1] - sigma) * (x - given[-1][0]) / sigma + stray * randn(*IMAGE, seed=30 + i)
    torch.testing.assert_close(x[:1], right[-1][:1], rtol=0, atol=1e-12)
    assert all(torch.equal(told[1], said[1]) for told, said in given)
    assert corrector.corrections == 2


@pytest.mark.parametrize("told", [True, False])
def test_nothing_is_interpolated_across_a_jump_of_guidance(told):
    """Predictions are right, but d jumps within the second gap: as a polynomial it would be off on both sides."""
    smooth, jump, x = quadratic(IMAGE), randn(*IMAGE, seed=8), randn(*IMAGE)

    def d_at(sigma: float) -> Tensor:
        return smooth(sigma) + (jump if sigma < 0.35 else 0)

    right = [torch.zeros(())] * 9
    plain = euler(Corrector(SIGMAS), x, d_at, right, [1] * 9)
    corrector = Corrector(SIGMAS)
    path = euler(corrector, x, d_at, right, guidance=lambda sigma: float(told and sigma < 0.35))
    assert torch.allclose(path[-1], plain[-1], rtol=0, atol=1e-12) == told
    assert corrector.corrections == (1 if told else 2) and corrector.off is None


def test_places_that_were_put_elsewhere_in_a_gap_are_owed_nothing():
    """As where a mask lets go of a part of the picture in mid-run."""
    held = torch.zeros(4, 4).bool()
    held[:, 2:] = True
    d_at, x, corrector, errors = quadratic(IMAGE), randn(*IMAGE), Corrector(SIGMAS), wrong(IMAGE)
    for i, (sigma, following) in enumerate(pairwise(SIGMAS)):
        denoised = x - sigma * (d_at(sigma) + errors[i])
        given = corrector.correct(x, sigma, denoised, predicted=not MASK[i])
        if i == 7:  # after two that were predicted
            assert torch.equal(given[..., 2:], denoised[..., 2:])
            assert not torch.isclose(given[..., :2], denoised[..., :2]).any()
        x = x + (following - sigma) * (x - given) / sigma
        x = torch.where(held, randn(*IMAGE, seed=50 + i), x) if i < 7 else x
    assert corrector.corrections == 2


def test_another_shape_in_mid_run_begins_anew():
    corrector, x = Corrector(SIGMAS), randn(*IMAGE)
    shapes = [IMAGE] * 4 + [(2, 3, 8, 8)] * 5
    for i, (sigma, shape) in enumerate(zip(SIGMAS, shapes, strict=False)):
        x = x if x.shape == shape else randn(*shape)
        denoised = x - sigma * randn(*shape, seed=4)
        # Evaluations 4 and 5 are predicted, on both sides of the change; what the first owes is gone with its shape.
        given = corrector.correct(x, sigma, denoised, predicted=i in (3, 4, 6))
        torch.testing.assert_close(given, denoised, rtol=0, atol=1e-12)
        x = x + (SIGMAS[i + 1] - sigma) * (x - given) / sigma
    assert corrector.corrections == 1  # at the eighth evaluation, for the seventh


@settings(max_examples=40, deadline=None)
@given(
    mask=st.lists(st.booleans(), min_size=9, max_size=9),
    scales=st.tuples(*[st.floats(0, 2)] * 2),
    steps=st.lists(st.floats(0.05, 1.0), min_size=9, max_size=9),
    seed=st.integers(0, 1000),
)
def test_samples_of_a_batch_are_corrected_as_if_alone(mask, scales, steps, seed):
    sigmas = [sum(steps[i:]) for i in range(9)] + [0.0]
    x, d_at = randn(*IMAGE, seed=seed), quadratic(IMAGE, seed + 1)
    sizes = torch.tensor(scales, dtype=torch.float64).reshape(2, 1, 1, 1)
    errors = [sizes * error for error in wrong(IMAGE, mask)]
    together = euler(Corrector(sigmas), x, d_at, errors, mask, sigmas=sigmas)[-1]
    for i in range(2):
        part = slice(i, i + 1)
        own = (lambda s, part=part: d_at(s)[part]), [error[part] for error in errors]
        alone = euler(Corrector(sigmas), x[part], *own, mask, sigmas=sigmas)[-1]
        torch.testing.assert_close(together[part], alone)


@settings(max_examples=40, deadline=None)
@given(
    mask=st.lists(st.booleans(), min_size=6, max_size=6),
    steps=st.lists(st.floats(0.3, 1.0), min_size=11, max_size=11),
)
def test_whatever_is_predicted_between_three_computed_ones_and_two_the_sampler_arrives(mask, steps):
    sigmas = [sum(steps[i:]) for i in range(11)] + [0.0]
    _, path, right = both(IMAGE, sigmas, [1, 1, 1, *mask, 1, 1])
    torch.testing.assert_close(path[-1], right[-1], rtol=0, atol=1e-8)


TWICE = [1, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1]  # of the 17 evaluations that Heun's method makes


@pytest.mark.parametrize("sigmas", [SIGMAS, (*SIGMAS[:-1], 0.05)])
def test_heuns_method_arrives_where_it_would_have(sigmas):
    """Whichever end of a step gaps begin and end at; with the last sigma above zero, the last step has two ends too."""
    mask = TWICE if sigmas[-1] == 0 else [*TWICE, 1]
    d_at, x, corrector = quadratic(IMAGE), randn(*IMAGE), Corrector(sigmas)
    right = heun(Corrector(sigmas), x, d_at, [1] * len(mask), sigmas)
    path = heun(corrector, x, d_at, mask, sigmas)
    arrived = [torch.allclose(here, there, rtol=0, atol=1e-12) for here, there in zip(path, right, strict=True)]
    # What the second step's second evaluation owes is paid by the third's first; then it is second ones that pay.
    assert arrived == [True, False, True, False, True, False, True, True, True]
    assert corrector.corrections == 3 and corrector.off is None and corrector.ending == 1


def test_heuns_method_among_places_that_are_held():
    d_at, x, corrector = quadratic(IMAGE), randn(*IMAGE), Corrector(SIGMAS)
    masks = [1] * 17, TWICE
    right, path = (
        heun(c, x, d_at, mask, after_step=put_back)
        for c, mask in zip((Corrector(SIGMAS), corrector), masks, strict=True)
    )
    torch.testing.assert_close(path[-1], right[-1], rtol=0, atol=1e-12)
    assert corrector.corrections == 3


def test_heuns_method_with_noise_in_its_steps_is_left_alone():
    corrector, noise = Corrector(SIGMAS), iter(range(9))
    heun(corrector, randn(*IMAGE), quadratic(IMAGE), TWICE, after_step=lambda x: x + randn(*IMAGE, seed=next(noise)))
    assert "does not go where d leads" in corrector.off and corrector.corrections == 0 and corrector.nbytes == 0


@settings(max_examples=40, deadline=None)
@given(
    mask=st.lists(st.booleans(), min_size=12, max_size=12),
    steps=st.lists(st.floats(0.3, 1.0), min_size=9, max_size=9),
)
def test_whatever_is_predicted_heuns_method_arrives(mask, steps):
    sigmas = [sum(steps[i:]) for i in range(9)] + [0.0]
    d_at, x, corrector = quadratic(IMAGE), randn(*IMAGE), Corrector(sigmas)
    # Evaluations at three sigmas come before the first that may be wrong, and a computed one after the last.
    path = heun(corrector, x, d_at, [1, 1, 1, 1, *mask[:-1], 1, 1], sigmas)
    right = heun(Corrector(sigmas), x, d_at, [1] * 17, sigmas)
    torch.testing.assert_close(path[-1], right[-1], rtol=0, atol=1e-8)
    assert corrector.ending == 1


def test_a_sigma_twice_is_one_anchor_and_the_memory_of_a_step_of_two_is_counted():
    corrector, x = Corrector(SIGMAS), randn(*IMAGE)
    d_at, kept = quadratic(IMAGE), []

    def watched(sigma: float) -> Tensor:
        kept.append(corrector.nbytes // x.nbytes)
        return d_at(sigma)

    heun(corrector, x, watched, TWICE)
    # At most three anchors, a move, and x and d of both ends of a step.
    assert max(kept) == 8


def test_what_is_kept_is_counted_and_let_go():
    corrector, x = Corrector(SIGMAS), randn(*IMAGE)
    assert corrector.nbytes == 0
    d, counted = randn(*IMAGE, seed=5), []
    for i in range(5):
        corrector.correct(x, SIGMAS[i], x - SIGMAS[i] * d, predicted=i >= 3)
        counted.append(corrector.nbytes // x.nbytes)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * d
    # Derivatives of computed evaluations, up to three, and x, at first of two evaluations, which might be one step of
    # Heun's; where one was predicted, its own and the move.
    assert counted == [2, 4, 4, 6, 6]
    corrector.free()
    assert corrector.nbytes == 0


def test_the_widget_comes_last_and_graphs_from_before_it_do_without():
    (node,) = (schema for schema in schemas() if schema.node_id == "FastCacheBlockCache")
    *others, widget, _ = node.inputs  # the last is a socket
    assert widget.id == "corrector" and widget.optional and widget.default is BlockCacheConfig().corrector
    assert not any(other.optional for other in others)
