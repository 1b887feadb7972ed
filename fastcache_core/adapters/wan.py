"""Wan 2.1 and 2.2 and the models made from them: text by cross-attention only, references before or after the video."""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("blocks", "double_block", ("img",), joint=False)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Axes are padded up to whole patches."""
    return tuple(-(-length // patch) for length, patch in zip(shape[-3:], model.patch_size, strict=True))


WAN = Family(
    "wan",
    ("comfy.ldm.wan.model.WanModel",),
    (BLOCKS,),
    grid,
    references="anywhere",
    no_tokens="Wan's blocks attend twice, which is not told apart yet",
)
