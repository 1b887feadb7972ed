"""HunyuanDiT: text by cross-attention only; the second half of the blocks sees the output of the first half's."""

from .family import BlockList, Family
from .flux import grid

BLOCKS = BlockList("blocks", ("img",), key="double_block")
HUNYUAN_DIT = Family(
    "hunyuan_dit",
    ("comfy.ldm.hydit.models.HunYuanDiT",),
    (BLOCKS,),
    grid,
    separate="some of them are handed the output of earlier ones",
)
