"""A U-Net, which is no diffusion transformer."""

from .toy import Toy

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "context_dim": 64,
    "num_heads": 2,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "legacy": False,
    "image_size": 32,
    "use_temporal_attention": False,
}
TOYS = {"unet": Toy(family=None, config="SD15", unet=UNET, latent=(4, 32, 32))}
