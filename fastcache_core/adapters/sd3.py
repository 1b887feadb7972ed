"""Stable Diffusion 3 and 3.5: two streams throughout, the last block returns no text."""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("joint_blocks", ("img", "txt"), key="double_block")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, (shape[-2] + 1) // model.patch_size, (shape[-1] + 1) // model.patch_size


SD3 = Family(
    "sd3",
    ("comfy.ldm.modules.diffusionmodules.mmdit.MMDiT",),
    (BLOCKS,),
    grid,
    no_tokens="some of SD3.5's blocks attend twice, which is not told apart yet",
)
