"""HiDream: image tokens before text tokens, the last of which are new for every block."""

from torch import nn

from .family import BlockList, Family, always
from .grids import padded_square

DOUBLE = BlockList("double_stream_blocks", ("image_tokens", "text_tokens"))
SINGLE = BlockList("single_stream_blocks", ("image_tokens",), joint=True)


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
