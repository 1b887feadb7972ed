from .toy import Toy, named, randn

LLAMA = 48
UNET = {
    "image_model": "hidream",
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "caption_channels": [64, LLAMA],
    "text_emb_dim": 32,
    "num_routed_experts": 4,
    "num_activated_experts": 2,
    "axes_dims_rope": (8, 12, 12),
    "llama_layers": [0, 1, 2, 3, 3],
}


def edit(generator, references):
    """Every block sees another layer of the language model; the image to edit stands to the right of the new one."""
    text = {"conditioning_llama3": randn(generator, 1, 4, 5, LLAMA)}
    return text | ({"concat_latent_image": randn(generator, 1, 16, 24, 24)} if references else {})


TOYS = {
    "hidream": Toy(
        family="hidream",
        config="HiDream",
        unet=UNET,
        latent=(16, 24, 24),
        grid=(1, 12, 12),
        blocks=named("double_stream", 2) + named("single_stream", 3),
        extras=edit,
        references="the image to edit (E1)",
        reference_grid=(1, 1, 288),
    )
}
