"""One declarative file per family of diffusion transformers; `find_family` picks the one a loaded model belongs to."""

from __future__ import annotations

from torch import nn

from .ace_step import ACE_STEP, ACE_STEP_15
from .chroma import CHROMA
from .family import BlockList, Family
from .flux import FLUX
from .hunyuan_video import HUNYUAN_VIDEO
from .lumina import LUMINA
from .qwen_image import QWEN_IMAGE
from .sd3 import SD3
from .stable_audio import STABLE_AUDIO
from .wan import WAN, WAN_ANIMATE2, WAN_HUMO, WAN_SCAIL, WAN_VACE

FAMILIES: tuple[Family, ...] = (
    ACE_STEP,
    ACE_STEP_15,
    CHROMA,
    FLUX,
    HUNYUAN_VIDEO,
    LUMINA,
    QWEN_IMAGE,
    SD3,
    STABLE_AUDIO,
    WAN,
    WAN_ANIMATE2,
    WAN_HUMO,
    WAN_SCAIL,
    WAN_VACE,
)

__all__ = ["FAMILIES", "BlockList", "Family", "find_family"]


def find_family(model: nn.Module) -> Family | None:
    """The family that names the model's class, or else the closest of the classes it derives from; None for no such."""
    by_class = {name: family for family in FAMILIES for name in family.classes}
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(model).__mro__)
    return next((by_class[name] for name in names if name in by_class), None)
