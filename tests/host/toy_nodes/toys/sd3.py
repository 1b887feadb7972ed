from .toy import Toy, named

UNET = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": 2,
    "num_blocks": 5,
    "input_size": None,
    "adm_in_channels": 32,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 128}},
    "pos_embed_max_size": 32,
    "pos_embed_scaling_factor": None,
    "num_patches": 1024,
}
# The medium one: some of its blocks let the image attend to itself as well.
MEDIUM = UNET | {"qk_norm": "rms", "x_block_self_attn_layers": [0, 1, 2]}
COMMON = {"family": "sd3", "config": "SD3", "latent": (16, 32, 32), "grid": (1, 16, 16), "blocks": named("double", 5)}
TOYS = {"sd3": Toy(unet=UNET, **COMMON), "sd35": Toy(unet=MEDIUM, **COMMON)}
