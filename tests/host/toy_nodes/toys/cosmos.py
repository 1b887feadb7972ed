"""Cosmos 1 and Cosmos Predict2, and Anima, which is a Predict2."""

import torch

from .toy import Toy, named

COMMON = {
    "max_img_h": 32,
    "max_img_w": 32,
    "max_frames": 8,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 64,
    "num_blocks": 4,
    "num_heads": 2,
    "concat_padding_mask": True,
    "crossattn_emb_channels": 64,
    "pos_emb_cls": "rope3d",
    "pos_emb_interpolation": "crop",
    "use_adaln_lora": True,
    "adaln_lora_dim": 16,
    "rope_t_extrapolation_ratio": 2.0,
}
COSMOS = COMMON | {
    "image_model": "cosmos",
    "block_config": "FA-CA-MLP",
    "block_x_format": "THWBD",
    "affline_emb_norm": True,
    "pos_emb_learnable": False,
    "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}
PREDICT2 = COMMON | {"image_model": "cosmos_predict2", "pos_emb_learnable": True, "rope_enable_fps_modulation": False}


def first_frame(generator, references):
    """The first frame is given: it has no noise, and modulations of its own."""
    if not references:
        return {}
    noisy = torch.ones(1, 1, 2, 16, 16)
    noisy[:, :, 0] = 0
    return {"concat_mask": noisy}


def without_adapter(model):
    """What reads token ids of text, which these conditionings have none of, and whose size no setting changes."""
    model.llm_adapter = None


def toy(family, config, unet, **others):
    video = {"latent": (16, 2, 16, 16), "grid": (2, 8, 8), "blocks": named("block", 4), "medium": "video"}
    return Toy(family, config, unet, **video, **others)


TOYS = {
    "cosmos": toy("cosmos", "CosmosT2V", COSMOS),
    "cosmos_predict2": toy(
        "cosmos_predict2",
        "CosmosI2VPredict2",
        PREDICT2 | {"in_channels": 17},
        extras=first_frame,
        references="first frame, modulations of its own",
    ),
    "anima": toy("cosmos_predict2", "Anima", PREDICT2 | {"image_model": "anima"}, adjust=without_adapter),
}
