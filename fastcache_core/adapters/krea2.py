"""Krea 2: one stream of text, image and reference tokens, in this order."""

from torch import nn

from .family import Arguments, BlockList, Family, last
from .grids import padded_grid
from .sublayers import ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attn", ATTENTION), SubLayer("mlp", MLP))
BLOCKS = BlockList("blocks", ("x",), joint=True, sublayers=SUBLAYERS)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, [model.patch] * 2)


def reference_tokens(args: Arguments) -> int:
    return sum((args.get("transformer_options") or {}).get("reference_image_num_tokens", ()))


KREA2 = Family(
    "krea2",
    ("comfy.ldm.krea2.model.SingleStreamDiT",),
    (BLOCKS,),
    grid,
    last,
    behind=reference_tokens,
    per_token={"freqs": 2, "vec": 1},
    places=("timestep_zero_index",),
    references=True,
)
