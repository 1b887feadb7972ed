from .toy import Toy, named

UNET = {
    "image_model": "lumina2",
    "in_channels": 16,
    "patch_size": 2,
    "dim": 64,
    "n_layers": 5,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "qk_norm": True,
    "cap_feat_dim": 64,
    "axes_dims": [8, 12, 12],
    "axes_lens": [300, 512, 512],
}
TOYS = {
    "lumina": Toy(
        family="lumina",
        config="Lumina2",
        unet=UNET,
        latent=(16, 32, 32),
        grid=(1, 16, 16),
        blocks=named("layer", 5),
    )
}
