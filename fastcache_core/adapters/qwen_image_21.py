"""Qwen-Image 2.1: text with pictures in it, then the image, in one stream; what comes before the image does not change.

ComfyUI runs what does not change once, through the same blocks in turn with the image, and keeps its keys and values.
"""

from .family import Arguments, BlockList, Family, last
from .grids import unpatched


def is_prefix(args: Arguments) -> bool:
    """Whether a block is given nothing but what comes before the image."""
    return args.get("prefix_len") == args["x"].shape[1]


QWEN_IMAGE_21 = Family(
    "qwen_image_21",
    ("comfy.ldm.qwen_image21.model.QwenImage21Transformer2DModel",),
    (BlockList("transformer_blocks", ("x",), joint=True, aside=is_prefix),),
    unpatched,
    last,
    no_tokens="Qwen-Image 2.1's blocks attend stretch by stretch",
)
