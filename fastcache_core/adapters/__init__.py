"""One declarative file per family of diffusion transformers; `find_family` picks the one a loaded model belongs to."""

from __future__ import annotations

from torch import nn

from .aura_flow import AURA_FLOW
from .chroma import CHROMA
from .ernie import ERNIE
from .family import BlockList, Family
from .flux import FLUX
from .hidream import HIDREAM
from .hidream_o1 import HIDREAM_O1
from .hunyuan_dit import HUNYUAN_DIT
from .hunyuan_video import HUNYUAN_VIDEO
from .ideogram import IDEOGRAM
from .krea2 import KREA2
from .lens import LENS
from .lumina import LUMINA
from .pixart import PIXART
from .pixeldit import PIXELDIT
from .qwen_image import QWEN_IMAGE
from .sd3 import SD3
from .wan import WAN

FAMILIES: tuple[Family, ...] = (
    AURA_FLOW,
    CHROMA,
    ERNIE,
    FLUX,
    HIDREAM,
    HIDREAM_O1,
    HUNYUAN_DIT,
    HUNYUAN_VIDEO,
    IDEOGRAM,
    KREA2,
    LENS,
    LUMINA,
    PIXART,
    PIXELDIT,
    QWEN_IMAGE,
    SD3,
    WAN,
)

__all__ = ["FAMILIES", "BlockList", "Family", "find_family"]


def find_family(model: nn.Module) -> Family | None:
    """The family that names the model's class, or else the closest of the classes it derives from; None for no such."""
    by_class = {name: family for family in FAMILIES for name in family.classes}
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(model).__mro__)
    return next((by_class[name] for name in names if name in by_class), None)
