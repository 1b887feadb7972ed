"""Ernie-Image: one stream, image tokens before text tokens."""

from .family import BlockList, Family, always
from .grids import whole_square

BLOCKS = BlockList("layers", ("x",), joint=True)


ERNIE = Family("ernie", ("comfy.ldm.ernie.model.ErnieImageModel",), (BLOCKS,), whole_square, image_first=always)
