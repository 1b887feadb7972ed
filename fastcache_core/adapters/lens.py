"""Lens: image tokens before text tokens; its blocks insist on a mask of the length of what they are given."""

from .family import BlockList, Family, always
from .grids import unpatched

BLOCKS = BlockList("transformer_blocks", ("img", "txt"), key="double_block")


LENS = Family(
    "lens",
    ("comfy.ldm.lens.model.LensTransformer2DModel",),
    (BLOCKS,),
    unpatched,
    image_first=always,
    per_token={"pe": 2, "attn_mask": -1},
)
