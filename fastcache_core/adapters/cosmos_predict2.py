"""Cosmos Predict2 and Anima: tokens as a grid, text by cross-attention only, a modulation for every frame."""

from .cosmos import grid
from .family import BlockList, Family
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("self_attn", ATTENTION), SubLayer("cross_attn", CROSS_ATTENTION), SubLayer("mlp", MLP))
BLOCKS = BlockList("blocks", ("x_B_T_H_W_D",), axes="b t h w d", sublayers=SUBLAYERS)
COSMOS_PREDICT2 = Family(
    "cosmos_predict2",
    ("comfy.ldm.cosmos.predict2.MiniTrainDIT",),
    (BLOCKS,),
    grid,
    # Some tokens are so many frames of one token each, so that each has its frame's modulation.
    per_token={"rope_emb_L_1_1_D": 1, "emb_B_T_D": 1, "adaln_lora_B_T_3D": 1},
    ungathered=("extra_per_block_pos_emb",),
    medium="video",
)
