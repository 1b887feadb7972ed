"""AuraFlow: two streams first, then one with the text's tokens before the image's; no positions inside the blocks."""

from .family import BlockList, Family
from .sd3 import grid
from .sublayers import ATTENTION, MLP, TEXT_MLP, SubLayer

DOUBLE_SUBLAYERS = (
    SubLayer("attn", ATTENTION, streams=("x", "c"), returns=("c", "x")),
    SubLayer("mlpX", MLP),
    SubLayer("mlpC", TEXT_MLP),
)
DOUBLE = BlockList("double_layers", ("img", "txt"), key="double_block", sublayers=DOUBLE_SUBLAYERS)
SINGLE_SUBLAYERS = (SubLayer("attn", ATTENTION), SubLayer("mlp", MLP))
SINGLE = BlockList("single_layers", ("img",), joint=True, key="single_block", sublayers=SINGLE_SUBLAYERS)
AURA_FLOW = Family("aura_flow", ("comfy.ldm.aura.mmdit.MMDiT",), (DOUBLE, SINGLE), grid, per_token={})
