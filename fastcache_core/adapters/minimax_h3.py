"""MiniMax H3: one sequence of text, references, sound and video, without an axis of samples."""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("blocks", ("img",), joint=True, key="double_block", axes="n d")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Video and sound are sampled in one row, whose shape does not tell."""
    return 1, 1, 0


MINIMAX_H3 = Family(
    "minimax_h3",
    ("comfy.ldm.minimax.model.MiniMaxH3Model",),
    (BLOCKS,),
    grid,
    no_tokens="MiniMax H3's blocks modulate stretches of their sequence",
    medium="video",
)
