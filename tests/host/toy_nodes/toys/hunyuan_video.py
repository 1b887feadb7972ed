"""HunyuanVideo and what was made of its blocks."""

from types import SimpleNamespace

import torch

from .toy import Toy, named, randn

UNET = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "context_in_dim": 64,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [8, 12, 12],
    "theta": 256,
    "patch_size": [1, 2, 2],
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
BLOCKS = named("double", 2) + named("single", 3)
PARAMETERS = ("comfy.ldm.hunyuan_video.model", "HunyuanVideoParams")
IMAGE = UNET | {
    "in_channels": 64,
    "out_channels": 64,
    "vec_in_dim": None,
    "axes_dim": [16, 16],
    "patch_size": [1, 1],
    "byt5": True,
}
HIGHER = UNET | {
    "in_channels": 65,
    "out_channels": 32,
    "vec_in_dim": None,
    "patch_size": [1, 1, 1],
    "depth": 5,
    "depth_single_blocks": 0,
    "guidance_embed": False,
    "byt5": True,
    "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
    "meanflow_sum": True,
}
REFINER = UNET | {"in_channels": 128, "out_channels": 64, "vec_in_dim": None, "patch_size": [1, 1, 1]}


def reference(generator, references):
    if not references:
        return {}
    padded = torch.tensor([[1, 1, 1, 1, 0, 0]])
    return {"ref_latent": randn(generator, 1, 16, 1, 16, 16), "attention_mask": padded}


def first_frame(generator, references):
    """The first frame replaces noise, and has a modulation of its own."""
    image = {"concat_latent_image": randn(generator, 1, 16, 2, 16, 16)}
    return image | ({"guiding_frame_index": 0} if references else {})


def words(generator, references):
    """Text that is to be drawn."""
    return {"conditioning_byt5small": randn(generator, 1, 4, 1472)}


def words_and_picture(generator, references):
    both = words(generator, references)
    if references:
        both["clip_vision_output"] = SimpleNamespace(last_hidden_state=randn(generator, 1, 3, 1152))
        both["concat_latent_image"] = randn(generator, 1, 32, 2, 8, 8)
    return both


def toy(config, unet, latent, grid, blocks=BLOCKS, **others):
    known = {"latent": latent, "grid": grid, "blocks": blocks, "parameters": PARAMETERS}
    return Toy("hunyuan_video", config, unet, **known, **others)


TOYS = {
    "hunyuan_video": toy(
        "HunyuanVideo",
        UNET,
        (16, 2, 16, 16),
        (2, 8, 8),
        extras=reference,
        references="reference latent (HunyuanCustom), padded text",
        alone="references",
        medium="video",
    ),
    "hunyuan_video_i2v": toy(
        "HunyuanVideoI2V",
        UNET | {"in_channels": 33},
        (16, 2, 16, 16),
        (2, 8, 8),
        extras=first_frame,
        references="guiding frame, a modulation of its own",
        alone="references",
        medium="video",
    ),
    "hunyuan_image": toy("HunyuanImage21", IMAGE, (64, 12, 12), (1, 12, 12), extras=words),
    "hunyuan_image_refiner": toy("HunyuanImage21Refiner", REFINER, (64, 2, 8, 8), (2, 8, 8)),
    "hunyuan_video_15": toy(
        "HunyuanVideo15",
        HIGHER,
        (32, 2, 8, 8),
        (2, 8, 8),
        named("double", 5),
        extras=words_and_picture,
        references="image, and tokens of a vision model",
        medium="video",
    ),
}
