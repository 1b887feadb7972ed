"""Lens: image tokens before text tokens; its blocks insist on a mask of the length of what they are given."""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("transformer_blocks", ("img", "txt"), key="double_block")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, shape[-2], shape[-1]


LENS = Family(
    "lens",
    ("comfy.ldm.lens.model.LensTransformer2DModel",),
    (BLOCKS,),
    grid,
    image_first=lambda model: True,
    per_token={"pe": 2, "attn_mask": -1},
)
