"""MiniMax H3: one sequence of text, sound and video, of one sample at a time."""

from .toy import Toy, named

UNET = {
    "image_model": "minimax_h3",
    "hidden_size": 64,
    "num_layers": 4,
    "token_refiner_num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "ffn_hidden_size": 128,
    "text_dim": 48,
    "timestep_input_dim": 32,
    "time_embed_hidden_size": 64,
    "time_embed_dim": 32,
    "rope_inv_freq_len": 4,
}
TOYS = {
    "minimax_h3": Toy(
        family="minimax_h3",
        config="MiniMaxH3",
        unet=UNET,
        latent=(24, 2, 12, 12),
        along=((32, 2, 5),),
        grid=(1, 1, 88),  # of the whole sequence, as the shape of the packed latent does not tell the video's
        blocks=named("double", 4),
        context=(6, 48),
        alone="always",
        medium="video",
    )
}
