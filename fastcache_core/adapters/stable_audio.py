"""Stable Audio: tokens of the time or of memory come before the sound's."""

from torch import nn

from .family import BlockList, Family, last
from .grids import padded_grid
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

# Not by patches_replace, where ComfyUI leaves out the local conditioning of Stable Audio 3.
SUBLAYERS = (SubLayer("self_attn", ATTENTION), SubLayer("cross_attn", CROSS_ATTENTION), SubLayer("ff", MLP))
BLOCKS = BlockList("transformer.layers", ("x",), sublayers=SUBLAYERS)


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
