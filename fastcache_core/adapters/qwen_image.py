"""Qwen-Image and Qwen-Image-Edit: text first in attention, reference latents after the image's tokens."""

from torch import nn

from .family import BlockList, Family, padded_grid

BLOCKS = BlockList("transformer_blocks", ("img", "txt"), key="double_block")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, [model.patch_size] * 2)


QWEN_IMAGE = Family(
    "qwen_image",
    ("comfy.ldm.qwen_image.model.QwenImageTransformer2DModel",),
    (BLOCKS,),
    grid,
    no_tokens="Qwen-Image's blocks do not show the mask of their attention",
)
