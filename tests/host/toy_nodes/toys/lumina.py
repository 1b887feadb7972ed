from dataclasses import replace
from types import SimpleNamespace

from .toy import Toy, named, randn

LUMINA = {
    "image_model": "lumina2",
    "in_channels": 16,
    "patch_size": 2,
    "dim": 64,
    "n_layers": 5,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "qk_norm": True,
    "cap_feat_dim": 64,
    "axes_dims": [8, 12, 12],
    "axes_lens": [300, 512, 512],
}
# Timesteps have 256 numbers there, which a narrower model has no modulation for.
Z_IMAGE = LUMINA | {
    "dim": 256,
    "n_layers": 4,
    "n_heads": 8,
    "n_kv_heads": 8,
    "z_image_modulation": True,
    "pad_tokens_multiple": 32,
}
OMNI = Z_IMAGE | {"siglip_feat_dim": 48}
PIXEL = Z_IMAGE | {
    "image_model": "zimage_pixel",
    "in_channels": 3,
    "patch_size": 4,
    "decoder_hidden_size": 32,
    "decoder_num_res_blocks": 1,
    "decoder_max_freqs": 4,
}


def omni(generator, references):
    """An image as latents, the text before it and features of it."""
    if not references:
        return {}
    seen = SimpleNamespace(image_sizes=[(3, 32, 32)], last_hidden_state=randn(generator, 1, 4, 48))
    return {
        "reference_latents": [randn(generator, 1, 16, 12, 12)],
        "reference_latents_text_embeds": [randn(generator, 1, 5, 64)],
        "clip_vision_outputs": [seen],
    }


# Their 100 tokens leave a padding of 28, as six tokens of text leave one of 26.
Z_IMAGE_TOY = Toy(
    family="lumina", config="ZImage", unet=Z_IMAGE, latent=(16, 20, 20), grid=(1, 10, 10), blocks=named("layer", 4)
)
TOYS = {
    "lumina": Toy(
        family="lumina",
        config="Lumina2",
        unet=LUMINA,
        latent=(16, 32, 32),
        grid=(1, 16, 16),
        blocks=named("layer", 5),
    ),
    "z_image": Z_IMAGE_TOY,
    "z_image_omni": replace(
        Z_IMAGE_TOY,
        unet=OMNI,
        extras=omni,
        references="reference latents with text and vision features (Z-Image omni)",
        needs="comfy_extras.nodes_zimage",
    ),
    "z_image_pixel": replace(Z_IMAGE_TOY, config="ZImagePixelSpace", unet=PIXEL, latent=(3, 40, 40)),
}
