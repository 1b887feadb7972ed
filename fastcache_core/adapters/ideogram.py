"""Ideogram 4: one stream, text tokens before image tokens."""

from .family import BlockList, Family, last
from .grids import unpatched
from .sublayers import ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attention", ATTENTION), SubLayer("feed_forward", MLP))
BLOCKS = BlockList("layers", ("x",), joint=True, sublayers=SUBLAYERS)


IDEOGRAM = Family(
    "ideogram",
    ("comfy.ldm.ideogram4.model.Ideogram4Transformer2DModel",),
    (BLOCKS,),
    unpatched,
    last,
    per_token={"freqs_cis": 1},
)
