from .toy import Toy, named, randn

# Text comes as two layers of 32 numbers each.
UNET = {
    "image_model": "krea2",
    "features": 64,
    "tdim": 32,
    "txtdim": 32,
    "heads": 2,
    "kvheads": 1,
    "multiplier": 4,
    "layers": 4,
    "channels": 16,
    "txtlayers": 2,
    "txtheads": 2,
    "txtkvheads": 2,
}


def edit(generator, references):
    if not references:
        return {}
    return {"reference_latents": [randn(generator, 1, 16, 1, 16, 16)], "reference_latents_method": "index"}


TOYS = {
    "krea2": Toy(
        family="krea2",
        config="Krea2",
        unet=UNET,
        latent=(16, 1, 32, 32),
        grid=(1, 16, 16),
        blocks=named("block", 4),
        extras=edit,
        references="reference latents",
    )
}
