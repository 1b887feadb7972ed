"""HiDream: image tokens before text tokens, the last of which are new for every block."""

from torch import nn

from .family import BlockList, Family, always
from .grids import padded_square
from .sublayers import ATTENTION, MLP, TEXT_MLP, SubLayer

DOUBLE_SUBLAYERS = (
    SubLayer("block.attn1", ATTENTION, streams=("norm_image_tokens", "norm_text_tokens")),
    SubLayer("block.ff_i", MLP),
    SubLayer("block.ff_t", TEXT_MLP),
)
DOUBLE = BlockList("double_stream_blocks", ("image_tokens", "text_tokens"), sublayers=DOUBLE_SUBLAYERS)
SINGLE_SUBLAYERS = (SubLayer("block.attn1", ATTENTION), SubLayer("block.ff_i", MLP))
SINGLE = BlockList("single_stream_blocks", ("image_tokens",), joint=True, sublayers=SINGLE_SUBLAYERS)


def start(model: nn.Module, tokens: int, length: int) -> int | None:
    """An image to edit stands to the right of the new one, so that rows of both follow each other."""
    return 0 if tokens == length else None


HIDREAM = Family(
    "hidream",
    ("comfy.ldm.hidream.model.HiDreamImageTransformer2DModel",),
    (DOUBLE, SINGLE),
    padded_square,
    start,
    image_first=always,
    per_token={"rope": 1},
    ungathered=("image_tokens_masks",),
)
