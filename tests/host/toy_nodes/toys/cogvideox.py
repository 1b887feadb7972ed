"""CogVideoX: the small one adds positions to its tokens, the large ones rotate queries and keys."""

from .toy import Toy, named

UNET = {
    "image_model": "cogvideox",
    "num_attention_heads": 3,
    "attention_head_dim": 32,
    "time_embed_dim": 32,
    "text_embed_dim": 64,
    "num_layers": 4,
    "sample_width": 16,
    "sample_height": 16,
    "sample_frames": 5,
    "max_text_seq_length": 6,
}


def toy(unet):
    return Toy(
        family="cogvideox",
        config="CogVideoX_T2V",
        unet=unet,
        latent=(16, 2, 16, 16),
        grid=(2, 8, 8),
        blocks=named("block", 4),
        medium="video",
    )


TOYS = {
    "cogvideox_2b": toy(UNET),
    "cogvideox_5b": toy(UNET | {"use_rotary_positional_embeddings": True}),
}
