"""Models of sets of latent tokens, which have no grid: all of them are one row."""

from .toy import Toy, named

V2 = {
    "image_model": "hunyuan3d2",
    "in_channels": 64,
    "context_in_dim": 64,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 3,
    "qkv_bias": True,
    "guidance_embed": False,
}
# The last two blocks have long skips and, like the one before, experts.
V2_1 = {
    "image_model": "hunyuan3d2_1",
    "in_channels": 64,
    "hidden_size": 64,
    "context_dim": 64,
    "depth": 7,
    "num_heads": 2,
    "qk_norm": True,
    "qkv_bias": False,
    "num_moe_layers": 3,
    "num_experts": 4,
    "moe_top_k": 2,
    "guidance_cond_proj_dim": 64,
}
TOYS = {
    "hunyuan3d": Toy(
        family="hunyuan3d",
        config="Hunyuan3Dv2",
        unet=V2,
        latent=(64, 96),
        grid=(1, 1, 96),
        blocks=named("double", 2) + named("single", 3),
        medium="3d",
    ),
    "hunyuan3d_2_1": Toy(
        family="hunyuan3d_2_1",
        config="Hunyuan3Dv2_1",
        unet=V2_1,
        latent=(64, 96),
        grid=(1, 1, 96),
        blocks=named("block", 7),
        medium="3d",
    ),
}
