from .toy import Toy, named

UNET = {
    "image_model": "ernie",
    "hidden_size": 64,
    "num_attention_heads": 2,
    "num_layers": 5,
    "ffn_hidden_size": 128,
    "text_in_dim": 48,
    "rope_axes_dim": (8, 12, 12),
}
TOYS = {
    "ernie": Toy(
        family="ernie",
        config="ErnieImage",
        unet=UNET,
        latent=(128, 16, 16),
        grid=(1, 16, 16),
        blocks=named("layer", 5),
        context=(6, 48),
    )
}
