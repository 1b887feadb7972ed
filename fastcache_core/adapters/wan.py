"""Wan 2.1 and 2.2 and the models made from them: text by cross-attention only, references before or after the video."""

from dataclasses import replace

from torch import nn

from .family import BlockList, Family
from .grids import padded_per_axis, untold
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS = (SubLayer("self_attn", ATTENTION), SubLayer("cross_attn", CROSS_ATTENTION), SubLayer("ffn", MLP))
BLOCKS = BlockList("blocks", ("img",), key="double_block", sublayers=SUBLAYERS)


def start(model: nn.Module, tokens: int, length: int) -> int:
    """References come before the video where they have a convolution of their own, else after it."""
    return length - tokens if getattr(model, "ref_conv", None) is not None else 0


WAN = Family(
    "wan",
    ("comfy.ldm.wan.model.WanModel",),
    (BLOCKS,),
    padded_per_axis,
    start,
    per_token={"pe": 1, "vec": 1},
    medium="video",
)
# Here, vec has no axis of frames: [samples, 6, width].
WAN_VACE = replace(
    WAN,
    name="wan_vace",
    classes=("comfy.ldm.wan.model.VaceWanModel", "comfy.ldm.wan.model.CameraWanModel"),
    per_token={"pe": 1},
)
WAN_HUMO = replace(
    WAN,
    name="wan_humo",
    classes=("comfy.ldm.wan.model.HumoWanModel",),
    no_tokens="HuMo's blocks attend to the sound frame by frame",
)
# References before the video and poses after it, both in unknown numbers.
WAN_SCAIL = replace(WAN, name="wan_scail", classes=("comfy.ldm.wan.model.SCAILWanModel",), grid=untold)
WAN_ANIMATE2 = replace(
    WAN,
    name="wan_animate2",
    classes=("comfy.ldm.wan.model_animate2.WanAnimate2Model",),
    lists=(replace(BLOCKS, sublayers=()),),  # whose attention is not called as a module
    no_tokens="Animate 2's blocks attend frame by frame",
)
