"""Ernie-Image: one stream, image tokens before text tokens."""

from .family import BlockList, Family, always
from .grids import whole_square
from .sublayers import ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("self_attention", ATTENTION), SubLayer("mlp", MLP))
BLOCKS = BlockList("layers", ("x",), joint=True, sublayers=SUBLAYERS)


ERNIE = Family("ernie", ("comfy.ldm.ernie.model.ErnieImageModel",), (BLOCKS,), whole_square, image_first=always)
