from .toy import Toy, named, reference_latents

UNET = {
    "in_channels": 3,
    "out_channels": 3,
    "vec_in_dim": 32,
    "context_in_dim": 64,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": False,
    "txt_ids_dims": [],
}
BLOCKS = named("double", 2) + named("single", 3)


FLUX = Toy(
    family="flux",
    config="Flux",
    unet=UNET,
    latent=(3, 32, 32),
    grid=(1, 16, 16),
    blocks=BLOCKS,
    latent_format="ChromaRadiance",
    parameters=("comfy.ldm.flux.model", "FluxParams"),
    extras=reference_latents(1, 3, 16, 16),
    references="reference latents (Kontext)",
)
TOYS = {"flux": FLUX}
