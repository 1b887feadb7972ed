"""Stable Audio: tokens of the time or of memory come before the sound's."""

from torch import nn

from .family import BlockList, Family, last
from .grids import padded_grid

# Not by patches_replace, where ComfyUI leaves out the local conditioning of Stable Audio 3.
BLOCKS = BlockList("transformer.layers", ("x",))


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, [model.patch_size])


STABLE_AUDIO = Family(
    "stable_audio",
    ("comfy.ldm.audio.dit.AudioDiffusionTransformer",),
    (BLOCKS,),
    grid,
    last,
    no_tokens="Stable Audio's blocks share one table of positions among all samples of a batch",
    medium="audio",
)
