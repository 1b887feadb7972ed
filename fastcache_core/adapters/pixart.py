"""PixArt alpha and sigma: text by cross-attention only."""

from .family import BlockList, Family
from .grids import whole_square

BLOCKS = BlockList("blocks", ("x",))


PIXART = Family("pixart", ("comfy.ldm.pixart.pixartms.PixArtMS",), (BLOCKS,), whole_square)
