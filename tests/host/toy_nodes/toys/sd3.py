from .toy import Toy, named

UNET = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": 5,
    "input_size": None,
    "adm_in_channels": 32,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 320}},
    "pos_embed_max_size": 32,
    "pos_embed_scaling_factor": None,
    "num_patches": 1024,
}
TOYS = {
    "sd3": Toy(
        family="sd3",
        config="SD3",
        unet=UNET,
        latent=(16, 32, 32),
        grid=(1, 16, 16),
        blocks=named("double", 5),
    )
}
