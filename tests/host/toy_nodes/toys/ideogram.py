import torch

from .toy import Toy, named

UNET = {
    "image_model": "ideogram4",
    "num_layers": 5,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "intermediate_size": 128,
    "adaln_dim": 32,
    "llm_features_dim": 64,
    "mrope_section": [6, 5, 5],
}


def padding(generator, references):
    mask = torch.ones(1, 6)
    mask[:, 4:] = 0
    return {"attention_mask": mask}


TOYS = {
    "ideogram": Toy(
        family="ideogram",
        config="Ideogram4",
        unet=UNET,
        latent=(128, 16, 16),
        grid=(1, 16, 16),
        blocks=named("layer", 5),
        extras=padding,
    )
}
