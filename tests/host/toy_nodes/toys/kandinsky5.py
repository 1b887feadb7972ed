from dataclasses import replace

from .toy import Toy, named, nothing, randn

UNET = {
    "image_model": "kandinsky5",
    "in_text_dim": 64,
    "in_text_dim2": 32,
    "time_dim": 32,
    "model_dim": 64,
    "ff_dim": 128,
    "visual_embed_dim": 132,
    "num_text_blocks": 1,
    "num_visual_blocks": 4,
    "axes_dims": (8, 12, 12),
}


def first_frame(generator, references):
    return {"time_dim_replace": randn(generator, 1, 16, 1, 16, 16)} if references else {}


TOYS = {
    "kandinsky5": Toy(
        family="kandinsky5",
        config="Kandinsky5",
        unet=UNET,
        latent=(16, 2, 16, 16),
        grid=(2, 8, 8),
        blocks=named("visual_transformer", 4),
        extras=first_frame,
        references="first frame, in place of noise",
        medium="video",
    )
}
TOYS["kandinsky5_image"] = replace(
    TOYS["kandinsky5"],
    config="Kandinsky5Image",
    unet=UNET | {"visual_embed_dim": 64},
    latent=(16, 16, 16),
    grid=(1, 8, 8),
    extras=nothing,
    references=None,
    medium="image",
)
