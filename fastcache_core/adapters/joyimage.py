"""JoyImage: image tokens first in attention, reference latents after the image's; only image tokens have positions."""

from .family import Family, always
from .flux import DOUBLE
from .grids import padded_per_axis

JOYIMAGE = Family(
    "joyimage",
    ("comfy.ldm.joyimage.model.JoyImageTransformer3DModel",),
    (DOUBLE,),
    padded_per_axis,
    image_first=always,
    per_token={},
    per_stream_token={"pe": 1},
)
