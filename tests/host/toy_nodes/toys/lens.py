import torch

from .toy import Toy, named

UNET = {
    "image_model": "lens",
    "num_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "enc_hidden_dim": 32,
    "axes_dims_rope": (8, 12, 12),
    "selected_layer_index": (5, 11),
}


def padding(generator, references):
    mask = torch.ones(1, 6)
    mask[:, 4:] = 0
    return {"attention_mask": mask}


TOYS = {
    "lens": Toy(
        family="lens",
        config="Lens",
        unet=UNET,
        latent=(128, 16, 16),
        grid=(1, 16, 16),
        blocks=named("double", 4),
        extras=padding,
    )
}
