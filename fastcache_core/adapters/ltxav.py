"""LTX-2: video and sound, which attend to themselves, to the text and to each other."""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("transformer_blocks", ("video", "audio"), key="double_block", packed="img")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Of video that is sampled alone; with sound, both are in one row, whose shape does not tell."""
    return shape[-3:] if len(shape) == 5 else (1, 1, 0)


LTXAV = Family(
    "ltxav",
    ("comfy.ldm.lightricks.av_model.LTXAVModel",),
    (BLOCKS,),
    grid,
    no_tokens="LTX-2's blocks are given modulations in a form that cannot be cut to some tokens",
    joined=False,  # the head reads the sound too
    medium="video",
)
