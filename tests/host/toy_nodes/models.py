"""Toy-sized models with random weights, built from the classes of the ComfyUI under test.

Arguments are filtered by the parameters each class knows, so that the same test runs on older and newer versions.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from comfy_api.latest import io

from .registry import toy_node

CONTEXT, POOLED = 64, 32
FLUX_LIKE = {
    "in_channels": 3,
    "out_channels": 3,
    "vec_in_dim": POOLED,
    "context_in_dim": CONTEXT,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": False,
    "in_dim": 64,
    "out_dim": 64,
    "hidden_dim": 64,
    "n_layers": 2,
    "txt_ids_dims": [],
}
WIDE = FLUX_LIKE | {"hidden_size": 512, "num_heads": 16, "depth_single_blocks": 4}
CHROMA = FLUX_LIKE | {"in_channels": 12, "out_channels": 12}  # counted after patching, unlike Flux's
QWEN_IMAGE = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 5,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": CONTEXT,
    "axes_dims_rope": (8, 12, 12),
}
WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 64,
    "ffn_dim": 128,
    "num_heads": 2,
    "num_layers": 5,
    "text_dim": CONTEXT,
    "in_dim": 16,
    "out_dim": 16,
}
LUMINA = {
    "image_model": "lumina2",
    "in_channels": 16,
    "patch_size": 2,
    "dim": 64,
    "n_layers": 5,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "qk_norm": True,
    "cap_feat_dim": CONTEXT,
    "axes_dims": [8, 12, 12],
    "axes_lens": [300, 512, 512],
}
SD3 = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": 5,
    "input_size": None,
    "adm_in_channels": POOLED,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": CONTEXT, "out_features": 320}},
    "pos_embed_max_size": 32,
    "pos_embed_scaling_factor": None,
    "num_patches": 1024,
}
UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "context_dim": CONTEXT,
    "num_heads": 2,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "legacy": False,
    "image_size": 32,
    "use_temporal_attention": False,
}
# name: (configuration class, latent format or None for its own, parameters, where the parameter class is)
TOYS: dict[str, tuple[str, str | None, dict[str, Any], tuple[str, str] | None]] = {
    "flux": ("Flux", "ChromaRadiance", FLUX_LIKE, ("comfy.ldm.flux.model", "FluxParams")),
    "flux_wide": ("Flux", "ChromaRadiance", WIDE, ("comfy.ldm.flux.model", "FluxParams")),
    "chroma": ("Chroma", "ChromaRadiance", CHROMA, ("comfy.ldm.chroma.model", "ChromaParams")),
    "qwen_image": ("QwenImage", None, QWEN_IMAGE, None),
    "lumina": ("Lumina2", None, LUMINA, None),
    "sd3": ("SD3", None, SD3, None),
    "wan": ("WAN21_T2V", None, WAN, None),
    "unet": ("SD15", None, UNET, None),
}


def known(parameters: dict[str, Any], place: tuple[str, str] | None) -> dict[str, Any]:
    if place is None:
        return dict(parameters)
    fields = dataclasses.fields(getattr(importlib.import_module(place[0]), place[1]))
    return {field.name: parameters[field.name] for field in fields if field.name in parameters}


def build(name: str) -> comfy.model_patcher.ModelPatcher:
    class_name, latent_format, parameters, place = TOYS[name]
    base = getattr(comfy.supported_models, class_name)
    own = {"latent_format": getattr(comfy.latent_formats, latent_format)} if latent_format else {}
    config = type(f"Toy{class_name}", (base,), own)(known(parameters, place))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "")
    generator = torch.Generator().manual_seed(0)
    for parameter in model.diffusion_model.parameters():
        spread = 1 / max(parameter.shape[-1], 1) ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread
    for name, buffer in model.diffusion_model.named_buffers():
        if name == "pos_embed":  # comes with the weights of a real model
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, device, device)


@toy_node("Model", [io.Combo.Input("family", options=list(TOYS))], [io.Model.Output()])
def toy_model(family: str) -> comfy.model_patcher.ModelPatcher:
    return build(family)


@toy_node(
    "Conditioning",
    [io.Int.Input("seed", default=0), io.Int.Input("tokens", default=6, min=1)],
    [io.Conditioning.Output()],
)
def toy_conditioning(seed: int, tokens: int) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    context = torch.randn(1, tokens, CONTEXT, generator=generator)
    return [[context, {"pooled_output": torch.randn(1, POOLED, generator=generator)}]]
