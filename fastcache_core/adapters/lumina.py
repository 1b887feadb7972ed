"""Lumina 2 and Z-Image: text, then image, in one stream, each padded to a multiple of tokens in some versions."""

from torch import nn

from .family import BlockList, Family
from .grids import Grid, padded_square, untold
from .sublayers import ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attention", ATTENTION), SubLayer("feed_forward", MLP))
BLOCKS = BlockList("layers", ("x",), joint=True, sublayers=SUBLAYERS)


def grid(model: nn.Module, shape: tuple[int, ...]) -> Grid:
    """Of one picture; in an input with an axis of frames (Ming-Image) others, and references, come behind the first."""
    return padded_square(model, shape) if len(shape) == 4 else untold(model, shape)


def start(model: nn.Module, tokens: int, length: int) -> int:
    multiple = getattr(model, "pad_tokens_multiple", None) or 1
    return length - -(-tokens // multiple) * multiple


LUMINA = Family(
    "lumina",
    ("comfy.ldm.lumina.model.NextDiT",),
    (BLOCKS,),
    grid,
    start,
    per_token={"freqs_cis": 1, "adaln_input": 1},
    places=("timestep_zero_index",),
)
