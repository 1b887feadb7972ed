from .flux import BLOCKS, UNET
from .toy import Toy

# Channels are counted after patching, unlike Flux's.
CHROMA = UNET | {"in_channels": 12, "out_channels": 12, "in_dim": 64, "out_dim": 64, "hidden_dim": 64, "n_layers": 2}
TOYS = {
    "chroma": Toy(
        family="chroma",
        config="Chroma",
        unet=CHROMA,
        latent=(3, 32, 32),
        grid=(1, 16, 16),
        blocks=BLOCKS,
        latent_format="ChromaRadiance",
        parameters=("comfy.ldm.chroma.model", "ChromaParams"),
    )
}
