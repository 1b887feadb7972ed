from .toy import Toy, named, randn

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


def edit(generator, references):
    return {"reference_latents": [randn(generator, 1, 16, 1, 16, 16)]} if references else {}


TOYS = {
    "joyimage": Toy(
        family="joyimage",
        config="JoyImage",
        unet=UNET,
        latent=(16, 1, 32, 32),
        grid=(1, 16, 16),
        blocks=named("double", 4),
        extras=edit,
        references="reference latents",
    )
}
