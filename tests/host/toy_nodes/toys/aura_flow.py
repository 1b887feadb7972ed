from .flux import BLOCKS
from .toy import Toy

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": 2,
    "dim": 64,
    "n_layers": 5,
    "n_double_layers": 2,
    "n_heads": 2,
    "global_conddim": 64,
    "cond_seq_dim": 64,
    "max_seq": 256,
}
TOYS = {
    "aura_flow": Toy(
        family="aura_flow", config="AuraFlow", unet=UNET, latent=(4, 32, 32), grid=(1, 16, 16), blocks=BLOCKS
    )
}
