from .toy import Toy, named

UNET = {
    "image_model": "pixeldit_t2i",
    "num_groups": 2,
    "hidden_size": 64,
    "pixel_hidden_size": 8,
    "pixel_attn_hidden_size": 64,
    "pixel_num_groups": 2,
    "patch_depth": 4,
    "pixel_depth": 2,
    "patch_size": 4,
    "txt_embed_dim": 64,
    "txt_max_length": 8,
}
TOYS = {
    "pixeldit": Toy(
        family="pixeldit",
        config="PixelDiTT2I",
        unet=UNET,
        latent=(3, 64, 64),
        grid=(1, 16, 16),
        blocks=named("patch", 4),
    )
}
