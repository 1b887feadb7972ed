"""MiniMax H3: one sequence of text, references, sound and video, without an axis of samples."""

from .family import BlockList, Family
from .grids import untold

BLOCKS = BlockList("blocks", ("img",), joint=True, key="double_block", axes="n d")


MINIMAX_H3 = Family(
    "minimax_h3",
    ("comfy.ldm.minimax.model.MiniMaxH3Model",),
    (BLOCKS,),
    untold,
    no_tokens="MiniMax H3's blocks modulate stretches of their sequence",
    medium="video",
)
