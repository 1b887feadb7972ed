"""Models of ComfyUI's own classes at real sizes, with random weights: what a run costs does not depend on them."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Size:
    """A model and what it samples. config: its class in comfy.supported_models; unet: its unet_config; depths: the
    entries of it that count blocks; latent: of one sample; context: text tokens and their width; parameters: module and
    dataclass that unet is read into, where versions of ComfyUI differ in its entries."""

    config: str
    unet: dict[str, Any]
    depths: tuple[str, ...]
    latent: tuple[int, ...]
    context: tuple[int, int] = (512, 4096)
    pooled: int = 768
    cfg: float = 1.0
    parameters: tuple[str, str] | None = None

    def of_depth(self, part: float) -> Size:
        """The same with this part of its blocks, of every list one at least."""
        fewer = {name: max(1, round(part * self.unet[name])) for name in self.depths}
        return dataclasses.replace(self, unet=self.unet | fewer)

    @property
    def blocks(self) -> int:
        return sum(self.unet[name] for name in self.depths)


FLUX = {
    "in_channels": 16, "out_channels": 16, "vec_in_dim": 768, "context_in_dim": 4096, "hidden_size": 3072,
    "mlp_ratio": 4.0, "num_heads": 24, "depth": 19, "depth_single_blocks": 38, "axes_dim": [16, 56, 56], "theta": 10000,
    "patch_size": 2, "qkv_bias": True, "guidance_embed": True, "txt_ids_dims": [],
}  # fmt: skip
NARROW = {"hidden_size": 512, "num_heads": 16, "axes_dim": [8, 12, 12], "depth": 4, "depth_single_blocks": 8,
          "context_in_dim": 64, "vec_in_dim": 32, "guidance_embed": False}  # fmt: skip
WAN = {"image_model": "wan2.1", "model_type": "t2v", "dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40,
       "text_dim": 4096, "in_dim": 16, "out_dim": 16}  # fmt: skip
DEPTHS = ("depth", "depth_single_blocks")
FLUX_PARAMS = ("comfy.ldm.flux.model", "FluxParams")
SIZES = {
    "flux-1024": Size("Flux", FLUX, DEPTHS, (16, 128, 128), parameters=FLUX_PARAMS),
    "wan-480p": Size("WAN21_T2V", WAN, ("num_layers",), (16, 21, 60, 104), cfg=5.0),
    "wan-720p": Size("WAN21_T2V", WAN, ("num_layers",), (16, 21, 90, 160), cfg=5.0),
    # For processors: as wide as it takes for blocks to outweigh everything else, and as small as can be.
    "narrow": Size("Flux", FLUX | NARROW, DEPTHS, (16, 64, 64), (64, 64), 32, parameters=FLUX_PARAMS),
    "tiny": Size("Flux", FLUX | NARROW | {"hidden_size": 64, "num_heads": 2, "depth": 2, "depth_single_blocks": 3},
                 DEPTHS, (16, 32, 32), (6, 64), 32, parameters=FLUX_PARAMS),
}  # fmt: skip


@dataclass
class Model:
    """A ModelPatcher, positive and negative conditioning, and the latent to sample."""

    patcher: Any
    positive: list
    negative: list
    latent: torch.Tensor


def build(size: Size, device: str) -> Model:
    """The model on its device, in bfloat16 on a GPU and float32 elsewhere. ComfyUI must have been started."""
    import comfy.model_patcher
    import comfy.supported_models

    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    base = getattr(comfy.supported_models, size.config)
    own = {key: value for key, value in base.unet_extra_config.items() if key not in size.unet}
    config = type(f"Random{size.config}", (base,), {"unet_extra_config": own})(known(size))
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "", device=torch.device(device)).to(device)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in model.diffusion_model.named_parameters():
        spread = 1 / max(parameter[0].numel(), 1) ** 0.5 if parameter.ndim > 1 else 0.1
        middle = 1 if parameter.ndim == 1 and name.endswith(("weight", "scale")) else 0
        parameter.data = parameter.data.to(dtype).normal_(middle, spread, generator=generator)
    patcher = comfy.model_patcher.ModelPatcher(model, torch.device(device), torch.device(device))
    positive, negative = (conditioning(size, seed) for seed in (1, 2))
    return Model(patcher, positive, negative, torch.zeros(1, *size.latent))


def known(size: Size) -> dict[str, Any]:
    """The unet_config, without entries that this version of ComfyUI does not know."""
    if size.parameters is None:
        return dict(size.unet)
    module, name = size.parameters
    fields = dataclasses.fields(getattr(importlib.import_module(module), name))
    return {field.name: size.unet[field.name] for field in fields if field.name in size.unet}


def conditioning(size: Size, seed: int) -> list:
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, size.pooled, generator=generator)
    return [[torch.randn(1, *size.context, generator=generator), {"pooled_output": pooled}]]
