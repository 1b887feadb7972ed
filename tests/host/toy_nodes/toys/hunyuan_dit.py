import torch

from .toy import Toy, named, randn

UNET = {
    "image_model": "hydit",
    "hidden_size": 64,
    "depth": 6,
    "num_heads": 2,
    "text_states_dim": 64,
    "text_states_dim_t5": 48,
    "text_len": 6,
    "text_len_t5": 8,
}


def texts(generator, references):
    """The second text, and which tokens of both are padding."""
    mask, mask_t5 = torch.ones(1, 6), torch.ones(1, 8)
    mask[:, 4:], mask_t5[:, 5:] = 0, 0
    return {
        "conditioning_mt5xl": randn(generator, 1, 8, 48),
        "attention_mask": mask,
        "attention_mask_mt5xl": mask_t5,
    }


TOYS = {
    "hunyuan_dit": Toy(
        family="hunyuan_dit",
        config="HunyuanDiT",
        unet=UNET,
        latent=(4, 32, 32),
        grid=(1, 16, 16),
        blocks=named("double", 6),
        extras=texts,
    ),
}
