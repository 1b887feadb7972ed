"""Cosmos 1: tokens as a grid, samples on the axis before the last one, a position added before every block."""

from torch import nn

from .family import BlockList, Family
from .grids import padded_grid
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS = (
    SubLayer("blocks.0.block", ATTENTION),
    SubLayer("blocks.1.block", CROSS_ATTENTION),
    SubLayer("blocks.2.block", MLP),
)
BLOCKS = BlockList("blocks", ("x",), axes="t h w b d", sublayers=SUBLAYERS)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, (model.patch_temporal, model.patch_spatial, model.patch_spatial))


COSMOS = Family(
    "cosmos",
    ("comfy.ldm.cosmos.model.GeneralDIT",),
    (BLOCKS,),
    grid,
    no_tokens="the blocks of Cosmos 1 take positions that are the same for all samples",
    medium="video",
)
