"""What a sampler is given: schedules, noise and latents of a test's choice, a sampler that stands still, a control."""

from __future__ import annotations

from typing import Any

import comfy.controlnet
import comfy.samplers
import node_helpers
import torch
from comfy_api.latest import io

from .registry import toy_node


@toy_node("RepeatSampler", [io.Int.Input("evaluations", default=1, min=1)], [io.Sampler.Output()])
def repeat_sampler(evaluations: int) -> comfy.samplers.KSAMPLER:
    """A sampler that comes to rest at its third evaluation, asks for the same again, and returns the last answer.

    It does not tell beforehand what it will do, so that its last evaluation is not known for one.
    """

    def repeat(model, x, sigmas, extra_args=None, callback=None, disable=None):
        if type(model.inner_model).__name__ == "StandIn":
            raise ValueError("this toy does not tell")
        for i in range(evaluations):
            moved = x * (1 + 0.01 * max(0, 2 - i))
            answer = model(moved, sigmas[3] * x.new_ones(len(x)), **(extra_args or {}))
        return answer

    return comfy.samplers.KSAMPLER(repeat)


@toy_node("Sigmas", [io.String.Input("numbers", default="1 0.5 0")], [io.Sigmas.Output()])
def toy_sigmas(numbers: str) -> torch.Tensor:
    return torch.tensor([float(number) for number in numbers.split()])


class NoisePerImage:
    """One seed an image, so that an image of a batch gets the noise that it would get alone."""

    def __init__(self, seeds: list[int]):
        self.seeds, self.seed = seeds, seeds[0]

    def generate_noise(self, latent: dict[str, Any]) -> torch.Tensor:
        shape = latent["samples"].shape[1:]
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in self.seeds])


@toy_node("Noise", [io.String.Input("seeds", default="1")], [io.Noise.Output()])
def toy_noise(seeds: str) -> NoisePerImage:
    return NoisePerImage([int(seed) for seed in seeds.split()])


@toy_node("SameLatent", [io.Latent.Input("latent"), io.Int.Input("run", default=0)], [io.Latent.Output()])
def same_latent(latent: dict[str, Any], run: int) -> dict[str, Any]:
    """Another number makes ComfyUI run what follows again."""
    return latent


class AddingControl(comfy.controlnet.ControlBase):
    """Adds a fixed pattern, less of it as the noise goes, to the image tokens behind some blocks."""

    def __init__(self, amount: float, width: int):
        super().__init__()
        self.pattern = amount * torch.randn(1, 1, width, generator=torch.Generator().manual_seed(0))

    def get_control(self, x_noisy, t, *args: Any) -> dict[str, list[torch.Tensor | None]]:
        add = t[:, None, None] * self.pattern.to(x_noisy)
        return {"input": [None, add, add], "middle": [], "output": [add, None, add]}


@toy_node(
    "Control",
    [
        io.Conditioning.Input("conditioning"),
        io.Float.Input("amount", default=0.1),
        io.Int.Input("width", default=128),
        io.Boolean.Input("uncond_too", default=True),
    ],
    [io.Conditioning.Output()],
)
def toy_control(conditioning: list[Any], amount: float, width: int, uncond_too: bool) -> list[Any]:
    values = {"control": AddingControl(amount, width), "control_apply_to_uncond": uncond_too}
    return node_helpers.conditioning_set_values(conditioning, values)
