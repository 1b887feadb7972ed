"""LTX-Video: text by cross-attention only; guiding frames are frames of the latent itself."""

from torch import nn

from .family import Arguments, BlockList, Family
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attn1", ATTENTION), SubLayer("attn2", CROSS_ATTENTION), SubLayer("ff", MLP))
BLOCKS = BlockList("transformer_blocks", ("img",), key="double_block", sublayers=SUBLAYERS)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return shape[-3:]


def no_tokens(args: Arguments) -> str | None:
    skipped = args["transformer_options"].get("stg_skip_self_attn")
    return "attention of the video to itself is left out of some blocks" if skipped else None


LTXV = Family(
    "ltxv",
    ("comfy.ldm.lightricks.model.LTXVModel",),
    (BLOCKS,),
    grid,
    per_token={"pe": (1, 2), "vec": 1},
    # Attention is then cut in two, of which one part has no guides.
    ungathered=("self_attention_mask",),
    no_tokens=no_tokens,
    medium="video",
)
