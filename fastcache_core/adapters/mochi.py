"""Mochi: image first in attention, then as many text tokens as there are without padding."""

from torch import nn

from .family import BlockList, Family, always
from .sublayers import ATTENTION, MLP, TEXT_MLP, SubLayer

SUBLAYERS = (
    SubLayer("attn", ATTENTION, streams=("x", "y")),
    SubLayer("mlp_x", MLP),
    SubLayer("mlp_y", TEXT_MLP),
)
BLOCKS = BlockList("blocks", ("img", "txt"), key="double_block", sublayers=SUBLAYERS)


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return shape[-3], shape[-2] // model.patch_size, shape[-1] // model.patch_size


MOCHI = Family(
    "mochi",
    ("comfy.ldm.genmo.joint_model.asymm_models_joint.AsymmDiTJoint",),
    (BLOCKS,),
    grid,
    image_first=always,
    per_token={},
    per_stream_token={"rope_cos": 0, "rope_sin": 0},
    text_seen="num_tokens",
    medium="video",
)
