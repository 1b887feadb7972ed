"""HiDream: image tokens before text tokens, the last of which are new for every block."""

from torch import nn

from .family import BlockList, Family, padded_grid

DOUBLE = BlockList("double_stream_blocks", ("image_tokens", "text_tokens"))
SINGLE = BlockList("single_stream_blocks", ("image_tokens",), joint=True)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, [model.patch_size] * 2)


def start(model: nn.Module, tokens: int, length: int) -> int | None:
    """An image to edit stands to the right of the new one, so that rows of both follow each other."""
    return 0 if tokens == length else None


HIDREAM = Family(
    "hidream",
    ("comfy.ldm.hidream.model.HiDreamImageTransformer2DModel",),
    (DOUBLE, SINGLE),
    grid,
    start,
    image_first=lambda model: True,
    per_token={"rope": 1},
    ungathered=("image_tokens_masks",),
)
