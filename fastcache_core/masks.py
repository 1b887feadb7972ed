"""What a rule needs of a profile: the mask that a run follows, and what is missing, in a sentence.

A profile knows of blocks. Where a run is about their sub-layers, `attention 3` and `mlp 3` are what the profile says of
block 3, and `double_mlp 0` what it says of `double 0`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .calibration.schedules import MAKERS
from .config import BlockCacheConfig
from .curves import MAGNITUDE, OF_STATE, OF_TIME, POLYNOMIAL
from .profile import Profile
from .schedule import Schedule

# Rules and what of a profile's curves they look up: what it is, and names.
NEEDED_CURVES = {
    "magnitude": ("values", (MAGNITUDE,)),
    "sensitivity": ("values", (OF_STATE, OF_TIME)),
    "fitted_change": ("coefficients", (POLYNOMIAL,)),
}


def what_is_missing(config: BlockCacheConfig, profile: Profile | None) -> str | None:
    """What the rule needs and the profile does not have, in a sentence with the cure, or None."""
    cure = "Connect what FastCache Calibrate gives to FastCache's profile, or choose another rule."
    if config.rule == "schedule" and config.mask == "profile" and (profile is None or profile.schedule is None):
        return f"The rule schedule needs a profile with a schedule. {cure}"
    if config.rule == "schedule" and config.mask != "profile" and (profile is None or sigmas_of(profile) is None):
        return f"The mask {config.mask} is made of a profile's change table, which is missing. {cure}"
    what, names = NEEDED_CURVES.get(config.rule, ("values", ()))
    known = getattr(profile and profile.curves, what, {})
    missing = [name for name in names if name not in known]
    return f"The rule {config.rule} needs a profile with the curve {missing[0]}. {cure}" if missing else None


def mask_of(config: BlockCacheConfig, profile: Profile | None, names: Sequence[str]) -> Schedule | None:
    """The mask for a run over blocks (or sub-layers) of these names; None where none is followed, or none is there."""
    if config.rule != "schedule" or what_is_missing(config, profile) is not None:
        return None
    places = [place_of(name, profile.blocks) for name in names]
    if None in places:
        return None
    if config.mask == "profile":
        rows = [[row[place] for place in places] for row in profile.schedule.computed]
        return Schedule(profile.schedule.sigmas, rows, profile.schedule.factors)
    table = profile.changes[torch.tensor(places)].float()
    return Schedule(sigmas_of(profile), MAKERS[config.mask](table, names, config))


def sigmas_of(profile: Profile) -> list[float] | None:
    """Of the evaluations of the profile's change table, None where it has no such table."""
    if profile.changes is None:
        return None
    found = [part.sigmas for part in (profile.curves, profile.schedule) if part is not None]
    return next((sigmas for sigmas in found if len(sigmas) == profile.changes.shape[1]), None)


def place_of(name: str, blocks: Sequence[str]) -> int | None:
    """Which of a profile's blocks a run's block, or sub-layer, is, or is a part of."""
    if name in blocks:
        return list(blocks).index(name)
    kind, _, number = name.rpartition(" ")
    same_number = [i for i, block in enumerate(blocks) if block.rpartition(" ")[2] == number]
    named = [i for i in same_number if kind.startswith(f"{blocks[i].rpartition(' ')[0]}_")]
    return (named or same_number[:1] or [None])[0]
