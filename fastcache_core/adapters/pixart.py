"""PixArt alpha and sigma: text by cross-attention only."""

from .family import BlockList, Family
from .grids import whole_square
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attn", ATTENTION), SubLayer("cross_attn", CROSS_ATTENTION), SubLayer("mlp", MLP))
BLOCKS = BlockList("blocks", ("x",), sublayers=SUBLAYERS)


PIXART = Family("pixart", ("comfy.ldm.pixart.pixartms.PixArtMS",), (BLOCKS,), whole_square)
