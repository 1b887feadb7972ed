from .toy import Toy, named, reference_latents

# The configuration fixes the width of heads at 128.
UNET = {
    "image_model": "joyimage",
    "patch_size": [1, 2, 2],
    "in_channels": 16,
    "hidden_size": 128,
    "num_attention_heads": 1,
    "text_dim": 64,
    "num_layers": 4,
}


TOYS = {
    "joyimage": Toy(
        family="joyimage",
        config="JoyImage",
        unet=UNET,
        latent=(16, 1, 32, 32),
        grid=(1, 16, 16),
        blocks=named("double", 4),
        extras=reference_latents(1, 16, 1, 16, 16),
        references="reference latents",
    )
}
