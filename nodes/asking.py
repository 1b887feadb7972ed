"""Asks ComfyUI's samplers what they do (fastcache_core/response.py), and watches what they ask of the model.

Beside host.py this touches ComfyUI's internals: how a sampler is called, and what it calls in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..fastcache_core.path import NoisePath, remembered
from ..fastcache_core.response import Model, NotLinear, Response, ask

LONGEST = 3.0  # seconds that asking may take
POST_CFG = "sampler_post_cfg_function"  # in model_options: what looks at the guided and at the unguided image


def path_of(model_sampling: Any) -> NoisePath:
    """How a model's latents are made of picture and noise, asked with single numbers."""

    def scales(sigma: float) -> tuple[float, float]:
        at = torch.tensor([sigma], dtype=torch.float64)
        one, zero = (torch.full((1, 1), value, dtype=torch.float64) for value in (1.0, 0.0))
        signal = model_sampling.noise_scaling(at, zero.clone(), one.clone())
        noise = model_sampling.noise_scaling(at, one, zero)
        return float(signal), float(noise)

    return remembered(scales)


def scaled(model_sampling: Any, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Of sigma [rows], on its device: signal + noise, and the fraction of noise, both [rows, 1, 1]."""
    sigma = sigma.float()
    shape = sigma.shape[0], 1, 1
    signal = model_sampling.noise_scaling(sigma, sigma.new_zeros(shape), sigma.new_ones(shape))
    noise = model_sampling.noise_scaling(sigma, sigma.new_ones(shape), sigma.new_zeros(shape))
    whole, fraction = signal + noise, noise / (signal + noise)
    return whole, torch.where(fraction > 0, fraction, 1.0)  # without noise, the picture is as it is


def response_of(
    sampler: Any, guider: Any, sigmas: Tensor, extra_args: Mapping[str, Any], shape: Sequence[int]
) -> Response | str:
    """What a sampler does at these sigmas with latents of this shape, or why that is not known, in words that follow
    "the sampler"."""
    until = time.perf_counter() + LONGEST
    at, known = sigmas.detach().cpu(), list(extra_args.get("model_options", {}).get(POST_CFG, ()))

    def sample(model: Model, noise: Tensor) -> Tensor:
        if time.perf_counter() > until:
            raise NotLinear("takes long to tell what it does")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            stand_in = StandIn(guider, model, len(known))
            return sampler.sample(stand_in, at, dict(extra_args), None, noise, torch.zeros_like(noise), None, True)

    try:
        return ask(sample, shape)
    except NotLinear as reason:
        return str(reason)
    except Exception as error:  # other packs' samplers may need more than a stand-in for the model
        return f"does not say what it does ({type(error).__name__}: {error})"


class StandIn:
    """Takes the guider's place, and a model's with it, for a sampler that is asked what it does.

    model: answers with a guided and an unguided image. others: how many functions that look at both there were before;
    those of CFG++ samplers come after them.
    """

    def __init__(self, guider: Any, model: Model, others: int):
        self.__dict__.update(_guider=guider, _model=model, _others=others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guider, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """What a sampler sets stays here."""
        self.__dict__[name] = value

    def __call__(
        self, x: Tensor, sigma: Tensor, model_options: Mapping[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        guided, unguided = self._model(x, float(sigma.flatten()[0]))
        for function in (model_options or {}).get(POST_CFG, ())[self._others :]:
            guided = function(
                {
                    "denoised": guided,
                    "cond": None,
                    "uncond": None,
                    "cond_scale": 1.0,
                    "model": getattr(self._guider, "inner_model", None),
                    "uncond_denoised": unguided,
                    "cond_denoised": guided,
                    "sigma": sigma,
                    "model_options": model_options,
                    "input": x,
                }
            )
        return guided

    outer_predict_noise = predict_noise = __call__


def watched(guider: Any, evaluate: Callable[..., Tensor]) -> Any:
    """A guider that is the given one, but for its calls, which go through evaluate(call, x, sigma, ...).

    Samplers call the guider itself for every evaluation, however it goes about it. They share their attributes.
    """

    class Watched(type(guider)):
        def __call__(self, x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return evaluate(super().__call__, x, timestep, *args, **kwargs)

    Watched.__name__ = type(guider).__name__
    twin = object.__new__(Watched)
    twin.__dict__ = guider.__dict__
    return twin


def sampler_name(sampler: Any) -> str:
    """What to call a sampler: `dpmpp_2m`, or the name of its class."""
    try:
        return function_name(sampler).removeprefix("sample_")
    except AttributeError:
        return type(sampler).__name__


def function_name(sampler: Any) -> str:
    return sampler.sampler_function.__name__
