"""Samplers are asked what they do: their evaluations, their noise, and how every answer moves what follows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastcache_core.path import AlongSigma, NoisePath
from fastcache_core.response import NotLinear, Response, ask, weights
from fastcache_core.response import euler as response_of_euler

from . import samplers

SIGMAS = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.0)
VE = NoisePath(lambda sigma: (1.0, sigma))


def asked(sampler, sigmas=SIGMAS, like=(2, 3, 4, 4)) -> Response:
    return ask(lambda model, noise: sampler(lambda x, sigma: model(x, sigma)[0], noise, sigmas), like)


@pytest.mark.parametrize("sampler", samplers.EXACT)
def test_what_is_foretold_is_where_the_sampler_goes(sampler):
    """With a model that answers anything, the steps give every x from those before it, but for the noise."""
    response, states, told = asked(sampler), [], []
    generator = torch.Generator().manual_seed(1)

    def model(x: Tensor, sigma: float) -> Tensor:
        assert sigma == pytest.approx(response.sigmas[len(states)])
        states.append(x)
        told.append(torch.randn(x.shape, generator=generator, dtype=torch.float64))
        return told[-1]

    states.append(sampler(model, torch.randn(2, 3, 40, 40, dtype=torch.float64), SIGMAS))
    assert len(response.steps) == len(states) - 1
    for i, step in enumerate(response.steps):
        foretold = sum(factor * states[i - n] for n, factor in enumerate(step.states))
        foretold += sum(factor * told[i - m] for m, factor in enumerate(step.answers))
        assert float((states[i + 1] - foretold).std()) == pytest.approx(step.noise, rel=0.35, abs=1e-9)


@pytest.mark.parametrize("sampler", samplers.EXACT)
def test_only_what_adds_noise_is_noisy_and_only_what_looks_back_remembers(sampler):
    response = asked(sampler)
    assert response.noisy == (sampler is samplers.noisy) and not response.unguided
    assert response.remembers == (sampler in (samplers.adams, samplers.multistep))


@pytest.mark.parametrize("sampler", [samplers.adaptive, samplers.rooted])
def test_what_is_not_linear_says_so(sampler):
    with pytest.raises(NotLinear):
        asked(sampler)


def test_samplers_that_follow_the_unguided_image_are_known_by_it():
    def plus(model, noise: Tensor) -> Tensor:
        guided, unguided = model(noise, 1.0)
        return guided + 0.5 * (noise - unguided)

    assert ask(plus, (1, 4, 8)).unguided and not ask(lambda model, noise: model(noise, 1.0)[0], (1, 4, 8)).unguided


def test_samplers_of_one_precision_are_asked_in_it():
    def single(model, x, sigmas=SIGMAS):
        if x.dtype is not torch.float32:
            raise RuntimeError("both inputs should have same dtype")
        return samplers.euler(lambda x, sigma: model(x, sigma)[0], x, sigmas)

    assert ask(single, (1, 4, 8)).sigmas == pytest.approx(SIGMAS[:-1])


@pytest.mark.parametrize(
    "sampler",
    [
        lambda model, noise: noise,
        lambda model, noise: model(torch.full_like(noise, torch.nan), 1.0)[0],
        lambda model, noise: [model(noise, 1.0)[0] for _ in range(2000)][0],
        lambda model, noise: model(torch.zeros_like(noise), 1.0)[0],
    ],
)
def test_nothing_is_known_of_what_is_no_sampler(sampler):
    with pytest.raises(NotLinear):
        ask(sampler, (1, 4, 8))


def test_an_error_counts_as_far_as_it_moves_the_picture():
    """Euler's steps of a flow: as long as they are, 1 on average; of the denoised image, the more the less noise."""
    sigmas = (1.0, 0.9, 0.5, 0.0)
    response = response_of_euler(sigmas)
    assert weights(response, AlongSigma(), 0.0, velocity=True) == pytest.approx([0.3, 1.2, 1.5])
    assert weights(response, AlongSigma(), 0.0, velocity=False) == pytest.approx([0.3, 1.2 / 0.9, 3.0])


def test_a_flow_told_with_added_noise_counts_the_same():
    flow = (0.98, 0.9, 0.5, 0.2, 0.0)
    added = [sigma / (1 - sigma) for sigma in flow]
    told = weights(response_of_euler(added), VE, 0.0, velocity=True)
    assert told == pytest.approx(weights(response_of_euler(flow), AlongSigma(), 0.0, velocity=True), rel=1e-6)


@pytest.mark.parametrize("sampler", [samplers.heun, samplers.midpoint])
def test_evaluations_of_one_step_share_it(sampler):
    found = weights(asked(sampler), AlongSigma(), 0.0, velocity=True)
    assert all(weight > 0 for weight in found) and sum(found) / len(found) == pytest.approx(1)
