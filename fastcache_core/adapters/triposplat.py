"""TripoSplat: a set of latent tokens, then those of the picture, then the camera's, which the head reads as well."""

from torch import nn

from .family import BlockList, Family
from .sublayers import ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("attn", ATTENTION), SubLayer("mlp", MLP))
BLOCKS = BlockList("blocks", ("x",), joint=True, sublayers=SUBLAYERS)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, 1, model.q_token_length


TRIPOSPLAT = Family(
    "triposplat",
    ("comfy.ldm.triposplat.model.LatentSeqMMFlowModel",),
    (BLOCKS,),
    grid,
    per_token={"rotary_emb": 1},
    joined=False,
    medium="3d",
)
