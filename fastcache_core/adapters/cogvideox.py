"""CogVideoX: text first in attention; the small model adds positions before its blocks, the large ones rotate."""

from torch import nn

from .family import BlockList, Family
from .grids import padded_grid

BLOCKS = BlockList("blocks", ("hidden_states", "encoder_hidden_states"))


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, (model.patch_size_t or 1, model.patch_size, model.patch_size))


COGVIDEOX = Family(
    "cogvideox",
    ("comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel",),
    (BLOCKS,),
    grid,
    per_token={},
    # The rotary table is the same for all samples there, while active tokens are not.
    ungathered=("image_rotary_emb",),
    medium="video",
)
