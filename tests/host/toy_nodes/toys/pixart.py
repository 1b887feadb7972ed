from .toy import Toy, named

UNET = {
    "image_model": "pixart_sigma",
    "in_channels": 4,
    "patch_size": 2,
    "hidden_size": 96,
    "depth": 5,
    "num_heads": 2,
    "caption_channels": 64,
    "model_max_length": 6,
    "pe_interpolation": 1.0,
    "micro_condition": False,
}
COMMON = {"family": "pixart", "latent": (4, 34, 32), "grid": (1, 17, 16), "blocks": named("block", 5)}
TOYS = {
    "pixart_alpha": Toy(
        config="PixArtAlpha", unet=UNET | {"image_model": "pixart_alpha", "micro_condition": True}, **COMMON
    ),
    "pixart_sigma": Toy(config="PixArtSigma", unet=UNET, **COMMON),
}
