"""Whether a profile is of a model, and what was different when it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch.nn import Module

from ..fastcache_core.config import BlockCacheConfig
from ..fastcache_core.masks import NEEDED_CURVES
from ..fastcache_core.profile import Profile
from .blocks import blocks_of


def misfit(profile: Profile, model: Module) -> str | None:
    """Why this profile is not of this model, in a sentence, or None. A width that cannot be told is not compared."""
    family = blocks_of(model)
    if family is None:
        return (
            f"The profile is of a {profile.family} model, but {type(model).__name__} is none in which FastCache finds "
            "blocks; disconnect the profile, or load the model that it is of."
        )
    names = [name for _, _, name in family.blocks(model)]
    first_block = next(iter(family.blocks(model)[0][0].modules(model).values()))
    widths = widths_of(first_block) or [profile.width]
    return profile.why_not(family.name, names, profile.width if profile.width in widths else widths[0])


def widths_of(block: Module) -> list[int]:
    """What a transformer block's hidden state may be wide, likeliest first; nothing where that cannot be told.

    It is what most of the linear layers lead from or to; of two streams of different widths, either may come first.
    Layers say it themselves, also where their weights are stored in another shape (quantised).
    """
    ends = [{getattr(part, "in_features", None), getattr(part, "out_features", None)} for part in block.modules()]
    counted = Counter(width for pair in ends for width in pair if isinstance(width, int)).most_common()
    return [width for width, times in counted if 3 * times > 2 * counted[0][1]]


def used_otherwise(profile: Profile, present: Mapping[str, Any]) -> str | None:
    """What of a run is not as it was when its profile was made, in a sentence, or None."""
    changed = [name for name, value in present.items() if profile.made_for.get(name, value) != value]
    if not changed:
        return None
    was = ", ".join(f"{name} {profile.made_for[name]}" for name in changed)
    now = ", ".join(f"{name} {present[name]}" for name in changed)
    return f"The profile was made with {was}; this run has {now}, which it may suit less."


def use_of(profile: Profile, blocks: BlockCacheConfig, predictor: str, planned: bool) -> str:
    """What a run with these settings uses of its profile, in a sentence; planned: whether it has a mask to follow."""
    decides = blocks.highest_threshold > 0
    parts = {
        "schedule": decides and planned and blocks.mask == "profile",
        "change table": decides and planned and blocks.mask != "profile",
        "curves": decides and blocks.rule in NEEDED_CURVES,
        "linear maps": predictor == "linear" and bool(profile.linear),
    }
    used = " and ".join(name for name, is_used in parts.items() if is_used)
    name = profile.made_for.get("name")
    called = f"profile {name!r}" if name else "profile, which was not saved,"
    if used:
        return f"The {called} is used: its {used}."
    ignored = f"the rule {blocks.rule} and the predictor {predictor} do not look at it"
    return f"Nothing of the {called} is used: {ignored if decides else 'the block cache is off'}."
