from dataclasses import replace
from functools import partial

from .toy import Toy, named, reference_latents

UNET = {
    "image_model": "krea2",
    "features": 64,
    "tdim": 32,
    "txtdim": 32,
    "txtlayers": 2,
    "txtheads": 2,
    "txtkvheads": 2,
    "heads": 2,
    "kvheads": 1,
    "multiplier": 2,
    "layers": 5,
    "patch": 2,
    "channels": 16,
}


edit = partial(reference_latents, 1, 16, 1, 16, 16)

KREA2 = Toy(
    family="krea2",
    config="Krea2",
    unet=UNET,
    latent=(16, 1, 32, 32),
    grid=(1, 16, 16),
    blocks=named("block", 5),
    extras=edit(reference_latents_method="index"),
    references="reference latents",
)
# These reference tokens are modulated as if no noise were left in them.
CLEAN = replace(
    KREA2,
    extras=edit(reference_latents_method="index_timestep_zero"),
    references="reference latents without noise (index_timestep_zero)",
)
TOYS = {"krea2": KREA2, "krea2_clean_references": CLEAN}
