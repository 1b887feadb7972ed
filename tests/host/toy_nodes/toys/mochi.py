import torch

from .toy import Toy, named

UNET = {
    "image_model": "mochi_preview",
    "depth": 4,
    "patch_size": 2,
    "num_heads": 2,
    "hidden_size_x": 32,
    "hidden_size_y": 24,
    "mlp_ratio_x": 384.0,  # ComfyUI insists on the product
    "mlp_ratio_y": 4.0,
    "learn_sigma": False,
    "in_channels": 12,
    "qk_norm": True,
    "qkv_bias": False,
    "out_bias": True,
    "attn_drop": 0.0,
    "patch_embed_bias": True,
    "posenc_preserve_area": True,
    "timestep_mlp_bias": True,
    "attend_to_padding": False,
    "timestep_scale": 1000.0,
    "use_t5": True,
    "t5_feat_dim": 64,
    "t5_token_length": 6,
    "rope_theta": 10000.0,
}


def padded(generator, references):
    return {"attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]])}


TOYS = {
    "mochi": Toy(
        family="mochi",
        config="GenmoMochi",
        unet=UNET,
        latent=(12, 2, 12, 12),
        grid=(2, 6, 6),
        blocks=named("double", 4),
        extras=padded,
        medium="video",
    )
}
