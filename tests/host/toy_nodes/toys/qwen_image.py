from .toy import Toy, named, randn

UNET = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 5,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "axes_dims_rope": (8, 12, 12),
}


def edit(generator, references):
    return {"reference_latents": [randn(generator, 1, 16, 1, 16, 16)]} if references else {}


TOYS = {
    "qwen_image": Toy(
        family="qwen_image",
        config="QwenImage",
        unet=UNET,
        latent=(16, 1, 32, 32),
        grid=(1, 16, 16),
        blocks=named("double", 5),
        extras=edit,
        references="reference latents (Qwen-Image-Edit)",
    )
}
