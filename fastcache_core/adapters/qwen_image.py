"""Qwen-Image and Qwen-Image-Edit: text first in attention, reference latents after the image's tokens."""

from torch import nn

from .family import BlockList, Family
from .grids import padded_grid
from .sublayers import ATTENTION, MLP, TEXT_MLP, SubLayer

SUBLAYERS = (
    SubLayer("attn", ATTENTION, streams=("hidden_states", "encoder_hidden_states")),
    SubLayer("img_mlp", MLP),
    SubLayer("txt_mlp", TEXT_MLP),
)
BLOCKS = BlockList("transformer_blocks", ("img", "txt"), key="double_block", sublayers=SUBLAYERS)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    frames = [1] * (len(shape) - 4)  # layered images come as frames
    return padded_grid(shape, [*frames, model.patch_size, model.patch_size])


QWEN_IMAGE = Family(
    "qwen_image",
    ("comfy.ldm.qwen_image.model.QwenImageTransformer2DModel",),
    (BLOCKS,),
    grid,
    places=("timestep_zero_index",),
    references=True,
)
