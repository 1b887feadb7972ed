from dataclasses import replace
from functools import partial

from .flux import BLOCKS, UNET
from .toy import Toy, reference_latents

UNET2 = UNET | {
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "mlp_ratio": 3.0,
    "axes_dim": [8, 8, 8, 8],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "guidance_embed": True,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}


edit = partial(reference_latents, 1, 128, 6, 6)

FLUX2 = Toy(
    family="flux",
    config="Flux2",
    unet=UNET2,
    latent=(128, 12, 12),
    grid=(1, 12, 12),
    blocks=BLOCKS,
    parameters=("comfy.ldm.flux.model", "FluxParams"),
    extras=edit(reference_latents_method="index"),
    references="reference latents",
)
KLEIN = UNET2 | {"guidance_embed": False}  # with guidance, ComfyUI cannot do this
# Newer ComfyUI modulates these reference tokens as if no noise were left in them.
CLEAN = replace(
    FLUX2,
    unet=KLEIN,
    extras=edit(reference_latents_method="index_timestep_zero"),
    references="reference latents without noise (index_timestep_zero)",
)
TOYS = {"flux2": FLUX2, "flux2_clean_references": CLEAN}
