"""HunyuanDiT: text by cross-attention only; the second half of the blocks sees the output of the first half's."""

from .family import BlockList, Family
from .flux import grid
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attn1", ATTENTION), SubLayer("attn2", CROSS_ATTENTION), SubLayer("mlp", MLP))
BLOCKS = BlockList("blocks", ("img",), key="double_block", sublayers=SUBLAYERS)
HUNYUAN_DIT = Family(
    "hunyuan_dit",
    ("comfy.ldm.hydit.models.HunYuanDiT",),
    (BLOCKS,),
    grid,
    separate="some of them are handed the output of earlier ones",
)
