"""PixelDiT and PiD: blocks on patches, after which few blocks on pixels follow, which are left alone."""

from torch import nn

from .family import BlockList, Family, padded_grid

BLOCKS = BlockList("patch_blocks", ("x", "y"))


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, [model.patch_size] * 2)


PIXELDIT = Family(
    "pixeldit",
    ("comfy.ldm.pixeldit.model.PixDiT_T2I",),
    (BLOCKS,),
    grid,
    no_tokens="PixelDiT's blocks take one table of positions for all samples",
)
