"""Ideogram 4: one stream, text tokens before image tokens."""

from .family import BlockList, Family, last
from .grids import unpatched

BLOCKS = BlockList("layers", ("x",), joint=True)


IDEOGRAM = Family(
    "ideogram",
    ("comfy.ldm.ideogram4.model.Ideogram4Transformer2DModel",),
    (BLOCKS,),
    unpatched,
    last,
    per_token={"freqs_cis": 1},
)
