"""Sampling as KSampler does it, for calibration: the same latents, with settings and recorders of its trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..fastcache_core.calibration.calibrator import Trial
from .host import apply_fastcache, last_report

SEEDS = 2**64
# Newer latents tell how they were made, so that empty ones can be changed to what the model takes.
EMPTY_LATENTS = ("downscale_ratio_spacial", "downscale_ratio_temporal")
Preview = bytes | tuple | None
Watch = Callable[[int, int, Preview], None]  # steps that are done, steps in all, a picture of what there is


@dataclass(frozen=True)
class Sampler:
    """What KSampler is given."""

    model: Any
    positive: Any
    negative: Any
    latent_image: Mapping[str, Any]
    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    denoise: float

    def sample(self, trial: Trial, watch: Watch) -> tuple[Tensor, dict[str, Any]]:
        """The latents [samples, ...] of one trial, on the CPU, and the report of its run."""
        model = apply_fastcache(self.model, trial.config, None, trial.profile, trial.recorder, tells=False)
        seed = (self.seed + trial.seed) % SEEDS
        made = {name: self.latent_image[name] for name in EMPTY_LATENTS if name in self.latent_image}
        latents = comfy.sample.fix_empty_latent_channels(model, self.latent_image["samples"], **made)
        noise = comfy.sample.prepare_noise(latents, seed, self.latent_image.get("batch_index"))
        sampled = comfy.sample.sample(
            model,
            noise,
            self.steps,
            self.cfg,
            self.sampler_name,
            self.scheduler,
            self.positive,
            self.negative,
            latents,
            denoise=self.denoise,
            noise_mask=self.latent_image.get("noise_mask"),
            callback=watching(model, watch),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        return together(sampled).cpu(), last_report(model)

    def describe(self) -> dict[str, str | int | float]:
        """What a profile says of how it was made."""
        samples = self.latent_image["samples"]
        told = {
            "model": type(self.model.model).__name__,
            "sampler": self.sampler_name,
            "scheduler": self.scheduler,
            "steps": self.steps,
            "cfg": self.cfg,
            "denoise": self.denoise,
        }
        return told if samples.is_nested else told | {"latent": " x ".join(map(str, samples.shape))}


def watching(model: Any, watch: Watch) -> Callable[[int, Tensor, Tensor, int], None]:
    """What samplers call after every step: tells `watch`, with a preview as KSampler has it."""
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def callback(step: int, denoised: Tensor, x: Tensor, steps: int) -> None:
        if getattr(denoised, "is_nested", False):  # a video and its sound, of which the first can be shown
            denoised = denoised.tensors[0]
        watch(step + 1, steps, previewer and previewer.decode_latent_to_preview_image("JPEG", denoised))

    return callback


def together(latents: Any) -> Tensor:
    """The parts of a nested latent as one tensor [samples, values]; others as they are."""
    if not latents.is_nested:
        return latents
    return torch.cat([part.flatten(1) for part in latents.unbind()], dim=1)
