"""HunyuanVideo, HunyuanVideo 1.5 and HunyuanImage 2.1: Flux-like blocks, two or three axes, reference latent first."""

from torch import nn

from .family import Family, last
from .flux import DOUBLE, SINGLE
from .grids import padded_per_axis


def image_first(model: nn.Module) -> bool:
    """ComfyUI 0.3.x flags its blocks and puts the image first; newer ones put text first and have no flag."""
    return any(getattr(block, "flipped_img_txt", False) for block in model.double_blocks)


HUNYUAN_VIDEO = Family(
    "hunyuan_video",
    ("comfy.ldm.hunyuan_video.model.HunyuanVideo",),
    (DOUBLE, SINGLE),
    padded_per_axis,
    last,
    image_first,
    ungathered=("modulation_dims", "modulation_dims_img", "modulation_dims_txt"),
    medium="video",
)
