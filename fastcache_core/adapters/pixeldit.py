"""PixelDiT and PiD: blocks on patches, after which few blocks on pixels follow, which are left alone."""

from .family import BlockList, Family
from .grids import padded_square
from .sublayers import ATTENTION, MLP, TEXT_MLP, SubLayer

SUBLAYERS = (
    SubLayer("attn", ATTENTION, streams=("x", "y")),
    SubLayer("mlp_x", MLP),
    SubLayer("mlp_y", TEXT_MLP),
)
BLOCKS = BlockList("patch_blocks", ("x", "y"), sublayers=SUBLAYERS)


PIXELDIT = Family(
    "pixeldit",
    ("comfy.ldm.pixeldit.model.PixDiT_T2I",),
    (BLOCKS,),
    padded_square,
    no_tokens="PixelDiT's blocks take one table of positions for all samples",
)
