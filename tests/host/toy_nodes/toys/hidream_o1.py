import torch

from .toy import Toy, named

UNET = {
    "image_model": "hidream_o1",
    "text_config_overrides": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "rope_dims": [6, 5, 5],
    },
    "vision_config_overrides": {
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "depth": 1,
        "num_position_embeddings": 16,
    },
}
LAST = 151673  # in place of this token, the model is told how noisy the image is


def text(generator, references):
    """A prompt of six tokens; an image to edit adds tokens before and behind the image's."""
    prompt = {"text_input_ids": torch.tensor([[5, 6, 7, 8, 9, LAST]])}
    return prompt | ({"reference_latents": [torch.rand(1, 64, 64, 3, generator=generator)]} if references else {})


TOYS = {
    "hidream_o1": Toy(
        family="hidream_o1",
        config="HiDreamO1",
        unet=UNET,
        latent=(3, 256, 256),
        grid=(1, 1, 70),
        blocks=named("double", 4),
        extras=text,
        references="an image to edit",
        reference_grid=(1, 1, 280),
    )
}
