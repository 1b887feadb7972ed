from .toy import Toy, named, randn

UNET = {
    "image_model": "triposplat",
    "q_token_length": 96,
    "in_channels": 16,
    "model_channels": 64,
    "cond_channels": 64,
    "out_channels": 16,
    "num_blocks": 4,
    "num_refiner_blocks": 1,
    "num_head_channels": 32,
    "cond2_channels": 128,
}


def picture(generator, references):
    """A picture's latents are added to its features, whose first tokens belong to no place in it."""
    return {"reference_latents": [randn(generator, 1, 128, 2, 2)]} if references else {}


TOYS = {
    "triposplat": Toy(
        family="triposplat",
        config="TripoSplat",
        unet=UNET,
        latent=(96, 16),
        along=((1, 5),),
        grid=(1, 1, 96),
        blocks=named("block", 4),
        extras=picture,
        references="latents of the picture",
        medium="3d",
    )
}
