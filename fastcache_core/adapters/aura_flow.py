"""AuraFlow: two streams first, then one with the text's tokens before the image's; no positions inside the blocks."""

from .family import BlockList, Family
from .sd3 import grid

DOUBLE = BlockList("double_layers", ("img", "txt"), key="double_block")
SINGLE = BlockList("single_layers", ("img",), joint=True, key="single_block")
AURA_FLOW = Family("aura_flow", ("comfy.ldm.aura.mmdit.MMDiT",), (DOUBLE, SINGLE), grid, per_token={})
