"""Kandinsky 5: text by cross-attention only.

ComfyUI asks for patches here, but gives them a function that fails, and expects another result than that one returns.
"""

from torch import nn

from .family import BlockList, Family
from .grids import padded_grid
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS = (
    SubLayer("self_attention", ATTENTION),
    SubLayer("cross_attention", CROSS_ATTENTION),
    SubLayer("feed_forward", MLP),
)
BLOCKS = BlockList("visual_transformer_blocks", ("visual_embed",), sublayers=SUBLAYERS)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    frames = shape[2:] if len(shape) == 5 else (1, *shape[2:])
    return padded_grid(frames, model.patch_size)


KANDINSKY5 = Family(
    "kandinsky5",
    ("comfy.ldm.kandinsky5.model.Kandinsky5",),
    (BLOCKS,),
    grid,
    per_token={"freqs": 1},
    medium="video",
)
