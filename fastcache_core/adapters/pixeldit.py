"""PixelDiT and PiD: blocks on patches, after which few blocks on pixels follow, which are left alone."""

from .family import BlockList, Family
from .grids import padded_square

BLOCKS = BlockList("patch_blocks", ("x", "y"))


PIXELDIT = Family(
    "pixeldit",
    ("comfy.ldm.pixeldit.model.PixDiT_T2I",),
    (BLOCKS,),
    padded_square,
    no_tokens="PixelDiT's blocks take one table of positions for all samples",
)
