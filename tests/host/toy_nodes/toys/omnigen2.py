from dataclasses import replace

import torch

from .toy import Toy, named, randn

UNET = {
    "image_model": "omnigen2",
    "in_channels": 16,
    "hidden_size": 64,
    "num_layers": 4,
    "num_refiner_layers": 1,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "multiple_of": 32,
    "axes_dim_rope": (8, 4, 4),
    "text_feat_dim": 64,
}
BOOGU = {key: UNET[key] for key in UNET if key not in ("image_model", "text_feat_dim")} | {
    "image_model": "boogu",
    "num_layers": 3,
    "num_double_stream_layers": 2,
    "instruction_feat_dim": 64,
    "timestep_scale": 1.0,
}


def references_of(generator, references):
    """The number of text tokens comes from their mask."""
    mask = {"attention_mask": torch.ones(1, 6, dtype=torch.long)}
    return mask | ({"reference_latents": [randn(generator, 1, 16, 8, 12)]} if references else {})


OMNIGEN2 = Toy(
    family="omnigen2",
    config="Omnigen2",
    unet=UNET,
    latent=(16, 24, 24),
    grid=(1, 12, 12),
    blocks=named("layer", 4),
    extras=references_of,
    references="reference latents",
)
TOYS = {
    "omnigen2": OMNIGEN2,
    "boogu": replace(
        OMNIGEN2,
        family="boogu",
        config="Boogu",
        unet=BOOGU,
        blocks=named("double_stream_layer", 2) + named("single_stream_layer", 3),
    ),
}
