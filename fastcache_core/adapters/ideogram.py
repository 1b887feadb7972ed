"""Ideogram 4: one stream, text tokens before image tokens."""

from torch import nn

from .family import BlockList, Family, last

BLOCKS = BlockList("layers", ("x",), joint=True)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, shape[-2], shape[-1]


IDEOGRAM = Family(
    "ideogram",
    ("comfy.ldm.ideogram4.model.Ideogram4Transformer2DModel",),
    (BLOCKS,),
    grid,
    last,
    per_token={"freqs_cis": 1},
)
