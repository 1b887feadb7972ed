"""Stable Audio, whose token of the time comes before the sound's, and Stable Audio 3, with tokens of memory instead."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .toy import Toy, named, randn

CONDITIONERS = "conditioner.conditioners."
UNET = {
    "audio_model": "dit1.0",
    "io_channels": 64,
    "embed_dim": 128,
    "num_heads": 2,
    "depth": 5,
    "cond_token_dim": 768,
    "global_cond_dim": 1536,
    "project_cond_tokens": True,
}
UNET3 = UNET | {
    "io_channels": 256,
    "global_cond_dim": 768,
    "global_cond_type": "adaLN",
    "global_cond_shared_embed": True,
    "local_add_cond_dim": 257,
    "num_memory_tokens": 4,
    "norm_type": "rms_norm",
    "attn_kwargs": {"qk_norm": "rms", "differential": True},
    "timestep_features_type": "expo",
}


def seconds(*names: str, **options) -> dict[str, Tensor]:
    from comfy.ldm.audio.embedders import NumberConditioner

    generator, weights = torch.Generator().manual_seed(1), NumberConditioner(768, **options).state_dict()
    return {f"{CONDITIONERS}{name}.{key}": randn(generator, *w.shape) for name in names for key, w in weights.items()}


def rotary(model: nn.Module) -> None:
    frequencies = model.transformer.rotary_pos_emb.inv_freq
    frequencies.copy_(10000 ** -torch.linspace(0, 1, len(frequencies)))


def kept_seconds(generator, references):
    """The first half is given, and kept."""
    mask = (torch.arange(96) >= 48).float().expand(1, 1, -1)
    return {"concat_latent_image": randn(generator, 1, 256, 96), "concat_mask": mask} if references else {}


TOYS = {
    "stable_audio": Toy(
        family="stable_audio",
        config="StableAudio",
        unet=UNET,
        latent=(64, 96),
        grid=(1, 1, 96),
        blocks=named("layer", 5),
        context=(6, 768),
        medium="audio",
        adjust=rotary,
        weights=lambda: seconds("seconds_start", "seconds_total"),
    ),
    "stable_audio_3": Toy(
        family="stable_audio",
        config="StableAudio3",
        unet=UNET3,
        latent=(256, 96),
        grid=(1, 1, 96),
        blocks=named("layer", 5),
        context=(6, 768),
        extras=kept_seconds,
        references="sound kept by a mask",
        medium="audio",
        adjust=rotary,
        weights=lambda: seconds("seconds_total", fourier_features_type="expo"),
    ),
}
