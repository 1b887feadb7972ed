"""Hunyuan3D 2.1: a set of latent tokens behind one of the timestep; long skips between the blocks."""

from .family import BlockList, Family, last
from .grids import one_row
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attn1", ATTENTION), SubLayer("attn2", CROSS_ATTENTION), SubLayer("mlp|moe", MLP))
BLOCKS = BlockList("blocks", ("x",), key="block", bare=True, sublayers=SUBLAYERS)

HUNYUAN3D_2_1 = Family(
    "hunyuan3d_2_1",
    ("comfy.ldm.hunyuan3dv2_1.hunyuandit.HunYuanDiTPlain",),
    (BLOCKS,),
    one_row,
    last,
    no_tokens="these blocks do not let the keys and values of their attention be kept",
    mixed=True,  # it swaps the halves of a batch, and back again
    separate="some of them are handed the output of earlier ones",
    medium="3d",
)
