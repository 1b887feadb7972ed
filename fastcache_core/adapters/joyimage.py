"""JoyImage: image tokens first in attention, reference latents after the image's; only image tokens have positions."""

from dataclasses import replace

from .family import Family, always
from .flux import DOUBLE
from .grids import padded_per_axis
from .sublayers import ATTENTION, MLP, TEXT_MLP, SubLayer

SUBLAYERS = (
    SubLayer("attn", ATTENTION, streams=("img", "txt")),
    SubLayer("img_mlp", MLP),
    SubLayer("txt_mlp", TEXT_MLP),
)

JOYIMAGE = Family(
    "joyimage",
    ("comfy.ldm.joyimage.model.JoyImageTransformer3DModel",),
    (replace(DOUBLE, sublayers=SUBLAYERS),),
    padded_per_axis,
    image_first=always,
    per_token={},
    per_stream_token={"pe": 1},
)
