"""Lens: image tokens before text tokens; its blocks insist on a mask of the length of what they are given."""

from .family import BlockList, Family, always
from .grids import unpatched
from .sublayers import ATTENTION, MLP, TEXT_MLP, SubLayer

SUBLAYERS = (
    SubLayer("attn", ATTENTION, streams=("hidden_states", "encoder_hidden_states")),
    SubLayer("img_mlp", MLP),
    SubLayer("txt_mlp", TEXT_MLP),
)
BLOCKS = BlockList("transformer_blocks", ("img", "txt"), key="double_block", sublayers=SUBLAYERS)


LENS = Family(
    "lens",
    ("comfy.ldm.lens.model.LensTransformer2DModel",),
    (BLOCKS,),
    unpatched,
    image_first=always,
    per_token={"pe": 2, "attn_mask": -1},
)
