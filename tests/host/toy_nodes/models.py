"""Toy-sized models with random weights, built from the classes of the ComfyUI under test, and what they sample."""

from __future__ import annotations

import dataclasses
import importlib
import json
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from comfy_api.latest import io

from .registry import toy_node
from .toys import TOYS, Toy

FLUX, LUMINA = TOYS["flux"], TOYS["lumina"]
WIDE = {
    "flux_wide": dataclasses.replace(FLUX, unet=FLUX.unet | {"hidden_size": 512, "num_heads": 16}),
    # Deep enough for blocks to outweigh what is around them, also on several cores, which help the blocks alone.
    "flux_deep": dataclasses.replace(
        FLUX, unet=FLUX.unet | {"hidden_size": 512, "num_heads": 16, "depth": 6, "depth_single_blocks": 12}
    ),
    "lumina_wide": dataclasses.replace(LUMINA, unet=LUMINA.unet | {"dim": 512, "n_heads": 16, "n_kv_heads": 16}),
}
HERE = {name: toy for name, toy in TOYS.items() if toy.why_not_here() is None} | WIDE
FAMILY = io.Combo.Input("family", options=list(HERE))


def known(toy: Toy) -> dict[str, Any]:
    """The unet_config, without entries that this version of ComfyUI does not know."""
    if toy.parameters is None:
        return dict(toy.unet)
    module, parameters = toy.parameters
    fields = dataclasses.fields(getattr(importlib.import_module(module), parameters))
    return {field.name: toy.unet[field.name] for field in fields if field.name in toy.unet}


def build(toy: Toy) -> comfy.model_patcher.ModelPatcher:
    base = getattr(comfy.supported_models, toy.config)
    own = {"unet_extra_config": {k: v for k, v in base.unet_extra_config.items() if k not in toy.unet}}
    if toy.latent_format:
        own["latent_format"] = getattr(comfy.latent_formats, toy.latent_format)
    config = type(f"Toy{toy.config}", (base,), own)(known(toy))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model(toy.weights(), "")
    toy.adjust(model.diffusion_model)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.diffusion_model.named_parameters():
        spread = 1 / max(parameter[0].numel(), 1) ** 0.5 if parameter.ndim > 1 else 0.1
        # Norms scale by about 1; by less, attention would be uniform, and nobody would notice a wrong position.
        middle = 1 if parameter.ndim == 1 and name.endswith(("weight", "scale")) else 0
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread + middle
    for name, buffer in model.diffusion_model.named_buffers():
        if name in ("pos_embed", "rope.inv_freq"):  # come with the weights of a real model
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, device, device)


@toy_node("Model", [FAMILY], [io.Model.Output()])
def toy_model(family: str) -> comfy.model_patcher.ModelPatcher:
    return build(HERE[family])


@toy_node(
    "Conditioning",
    [FAMILY, io.Int.Input("seed", default=0), io.Boolean.Input("references", default=False)],
    [io.Conditioning.Output()],
)
def toy_conditioning(family: str, seed: int, references: bool) -> list[Any]:
    """References are the same for every seed, as they are for the positive and the negative prompt."""
    toy, generator = HERE[family], torch.Generator().manual_seed(seed)
    context = torch.randn(1, *toy.context, generator=generator)
    pooled = torch.randn(1, toy.pooled, generator=generator)
    return [[context, {"pooled_output": pooled, **toy.extras(torch.Generator().manual_seed(9), references)}]]


@toy_node("Latent", [FAMILY, io.Int.Input("batch", default=2, min=1)], [io.Latent.Output()])
def toy_latent(family: str, batch: int) -> dict[str, Any]:
    toy = HERE[family]
    generator = torch.Generator().manual_seed(4)
    latents = [torch.randn(batch, *shape, generator=generator) for shape in (toy.latent, *toy.along)]
    if not toy.from_latent:
        latents = [torch.zeros_like(latent) for latent in latents]
    return {"samples": nested(latents) if toy.along else latents[0]}


def nested(latents: list[torch.Tensor]) -> Any:
    """Several latents that are sampled together; older versions of ComfyUI have no such thing."""
    from comfy.nested_tensor import NestedTensor

    return NestedTensor(latents)


@toy_node("Packed", [io.Latent.Input("latent")], [io.Latent.Output()])
def packed(latent: dict[str, Any]) -> dict[str, Any]:
    """The parts of a nested latent in one, as only such can be saved; others as they are."""
    samples = latent["samples"]
    if not samples.is_nested:
        return latent
    return {"samples": torch.cat([part.flatten(1) for part in samples.unbind()], 1)}


@toy_node("Missing", [], shows=True)
def toy_missing() -> str:
    """The toys that this ComfyUI has not got, and why, as JSON."""
    return json.dumps({name: toy.why_not_here() for name, toy in TOYS.items() if name not in HERE})
