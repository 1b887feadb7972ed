from .toy import Toy, named

UNET = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 64,
    "ffn_dim": 128,
    "num_heads": 2,
    "num_layers": 5,
    "text_dim": 64,
    "in_dim": 16,
    "out_dim": 16,
}
TOYS = {
    "wan": Toy(
        family="wan",
        config="WAN21_T2V",
        unet=UNET,
        latent=(16, 2, 16, 16),
        grid=(2, 8, 8),
        blocks=named("double", 5),
        medium="video",
    )
}
