from dataclasses import replace

import torch

from .toy import Toy, named, reference_latents

UNET = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 5,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "axes_dims_rope": (8, 12, 12),
}


edit = reference_latents(1, 16, 1, 16, 16)


def timestep_zero(generator, references):
    """References are modulated as if they were at timestep zero; older versions take the name for another method."""
    return edit(generator, references) | {"reference_latents_method": "index_timestep_zero"}


def padded(generator, references):
    """Two of the six text tokens are padding; older versions do not look at the mask."""
    return edit(generator, references) | {"attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]])}


QWEN_IMAGE = Toy(
    family="qwen_image",
    config="QwenImage",
    unet=UNET,
    latent=(16, 1, 32, 32),
    grid=(1, 16, 16),
    blocks=named("double", 5),
    extras=edit,
    references="reference latents (Qwen-Image-Edit)",
)
TOYS = {
    "qwen_image": QWEN_IMAGE,
    "qwen_image_timestep_zero": replace(
        QWEN_IMAGE, extras=timestep_zero, references="reference latents at timestep zero (Qwen-Image-Edit 2511)"
    ),
    "qwen_image_padded": replace(QWEN_IMAGE, extras=padded),
    "qwen_image_layered": replace(
        QWEN_IMAGE,
        unet=UNET | {"use_additional_t_cond": True, "default_ref_method": "negative_index"},
        latent=(16, 3, 16, 16),
        grid=(3, 8, 8),
        needs="comfy_extras.nodes_zimage",  # as new as layers
    ),
}
