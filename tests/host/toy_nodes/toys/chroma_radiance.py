import torch

from .chroma import CHROMA
from .flux import BLOCKS
from .toy import Toy

RADIANCE = CHROMA | {
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 4,
    "nerf_hidden_size": 16,
    "nerf_mlp_ratio": 2,
    "nerf_depth": 2,
    "nerf_max_freqs": 4,
    "nerf_tile_size": 64,
    "nerf_final_head_type": "linear",
    "nerf_embedder_dtype": torch.float32,
    "use_x0": False,
    "use_sequential_txt_ids": True,
}
TOYS = {
    "chroma_radiance": Toy(
        family="chroma",
        config="ChromaRadiance",
        unet=RADIANCE,
        latent=(3, 64, 64),
        grid=(1, 16, 16),
        blocks=BLOCKS,
        parameters=("comfy.ldm.chroma_radiance.model", "ChromaRadianceParams"),
    )
}
