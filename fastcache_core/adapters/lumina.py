"""Lumina 2 and Z-Image: text and image in one stream, whose parts the blocks do not tell."""

from torch import nn

from .family import BlockList, Family, padded_grid

BLOCKS = BlockList("layers", "layer", ("x",), joint=True)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, [model.patch_size] * 2)


LUMINA = Family(
    "lumina",
    ("comfy.ldm.lumina.model.NextDiT",),
    (BLOCKS,),
    grid,
    no_tokens="these blocks do not say where their keys and values are",
    route="forward",
)
