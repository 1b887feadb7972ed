"""Wan 2.1 and 2.2 and the models made from them: text by cross-attention only, references before or after the video."""

from torch import nn

from .family import BlockList, Family, padded_grid

BLOCKS = BlockList("blocks", ("img",), key="double_block")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, model.patch_size)


WAN = Family(
    "wan",
    ("comfy.ldm.wan.model.WanModel",),
    (BLOCKS,),
    grid,
    no_tokens="Wan's blocks attend twice, which is not told apart yet",
)
