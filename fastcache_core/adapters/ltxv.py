"""LTX-Video: text by cross-attention only; guiding frames are frames of the latent itself."""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("transformer_blocks", ("img",), key="double_block")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return shape[-3:]


LTXV = Family(
    "ltxv",
    ("comfy.ldm.lightricks.model.LTXVModel",),
    (BLOCKS,),
    grid,
    per_token={"pe": (1, 2), "vec": 1},
    # Attention is then cut in two, of which one part has no guides.
    ungathered=("self_attention_mask",),
    medium="video",
)
