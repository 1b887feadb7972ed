from .toy import Toy, named, reference_latents

UNET = {
    "image_model": "mage_flow",
    "in_channels": 128,
    "out_channels": 128,
    "num_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "axes_dims_rope": (8, 12, 12),
}


TOYS = {
    "mage_flow": Toy(
        family="mage_flow",
        config="MageFlow",
        unet=UNET,
        latent=(128, 12, 12),
        grid=(1, 12, 12),
        blocks=named("double", 4),
        extras=reference_latents(1, 128, 6, 8),
        references="reference latents",
    )
}
