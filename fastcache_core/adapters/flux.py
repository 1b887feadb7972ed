"""Flux, Flux Kontext and Flux.2: text tokens first in the sequence, reference latents after the image's tokens."""

from torch import nn

from .family import BlockList, Family

DOUBLE = BlockList("double_blocks", ("img", "txt"), key="double_block")
SINGLE = BlockList("single_blocks", ("img",), joint=True, key="single_block")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, patch = shape[-2], shape[-1], model.patch_size
    return 1, (height + patch // 2) // patch, (width + patch // 2) // patch


FLUX = Family(
    "flux",
    ("comfy.ldm.flux.model.Flux",),
    (DOUBLE, SINGLE),
    grid,
    places=("modulation_dims_img", "modulation_dims"),
    references=True,
)
