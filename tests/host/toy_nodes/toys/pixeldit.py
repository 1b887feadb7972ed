from dataclasses import replace

import torch

from .toy import Toy, named, randn

UNET = {
    "image_model": "pixeldit_t2i",
    "num_groups": 2,
    "hidden_size": 64,
    "pixel_hidden_size": 8,
    "pixel_attn_hidden_size": 64,
    "pixel_num_groups": 2,
    "patch_depth": 4,
    "pixel_depth": 2,
    "patch_size": 4,
    "txt_embed_dim": 64,
    "txt_max_length": 8,
}
PIXELDIT = Toy(
    family="pixeldit",
    config="PixelDiTT2I",
    unet=UNET,
    latent=(3, 64, 64),
    grid=(1, 16, 16),
    blocks=named("patch", 4),
)
PID = UNET | {"image_model": "pid", "lq_hidden_dim": 16, "lq_num_res_blocks": 1, "rope_ref_h": 64, "rope_ref_w": 64}


def decoded(generator, references):
    """The latent to decode, of which something is added before every other block."""
    return {"lq_latent": randn(generator, 1, 16, 4, 4), "degrade_sigma": torch.tensor([0.1])}


TOYS = {"pixeldit": PIXELDIT, "pid": replace(PIXELDIT, config="PiD", unet=PID, extras=decoded)}
