"""Stable Diffusion 3 and 3.5: two streams throughout, the last block returns no text.

Some blocks of 3.5 medium let the image attend to itself after both have attended to each other.
"""

from torch import nn

from ..calls import SEQUENCE, STREAM
from .family import BlockList, Family

BLOCKS = BlockList("joint_blocks", ("img", "txt"), key="double_block", attends=(SEQUENCE, STREAM))


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, (shape[-2] + 1) // model.patch_size, (shape[-1] + 1) // model.patch_size


SD3 = Family("sd3", ("comfy.ldm.modules.diffusionmodules.mmdit.MMDiT",), (BLOCKS,), grid, per_token={})
