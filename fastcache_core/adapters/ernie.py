"""Ernie-Image: one stream, image tokens before text tokens."""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("layers", ("x",), joint=True)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, shape[-2] // model.patch_size, shape[-1] // model.patch_size


ERNIE = Family("ernie", ("comfy.ldm.ernie.model.ErnieImageModel",), (BLOCKS,), grid, image_first=lambda model: True)
