"""JoyImage: image tokens first in attention, reference latents after the image's; only image tokens have positions."""

from torch import nn

from .family import Family, padded_grid
from .flux import DOUBLE


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, model.patch_size)


def image_first(model: nn.Module) -> bool:
    return True


JOYIMAGE = Family(
    "joyimage",
    ("comfy.ldm.joyimage.model.JoyImageTransformer3DModel",),
    (DOUBLE,),
    grid,
    image_first=image_first,
    per_token={},
    per_stream_token={"pe": 1},
)
