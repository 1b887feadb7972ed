"""Which names of profiles lead to a file within a folder, on every common system."""

from __future__ import annotations

import re
from itertools import chain, count
from pathlib import Path
from reprlib import repr as short

from ..fastcache_core.profile import ProfileError

SUFFIX = ".safetensors"
LONGEST = 200  # bytes of a name: file systems allow 255, and numbers and endings are added
# What one of the common systems does not allow in a name, or takes for something else.
REFUSED = re.compile(r'[<>:"|?*]')
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def new_path(folder: Path, name: str, overwrite: bool) -> Path:
    """Where in `folder` to save a profile of this name: unless it may be overwritten, at a name that is free.

    The folders it lies in are made. ProfileError when the name does not lead to a place within `folder`.
    """
    path = folder.joinpath(*parts_of(name))
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ProfileError(f"The name {name!r} leads out of {folder} by a link. Choose another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProfileError(f"The folder {path.parent} could not be made ({error}). Choose another name.") from error
    endings = chain([""], map("_{}".format, count(2)))
    numbered = (path.with_name(f"{path.name}{ending}{SUFFIX}") for ending in endings)
    return next(found for found in numbered if overwrite or not found.exists())


def parts_of(name: str) -> list[str]:
    """A name such as "flux/dev 20 steps" as the parts of a path; ProfileError for one that is none."""
    parts = re.split(r"[/\\]", name.strip().removesuffix(SUFFIX))
    long = f"has more than {LONGEST} bytes" if len(name.encode(errors="replace")) > LONGEST else None
    why_not = next(filter(None, [long, *map(problem, parts)]), None)
    if why_not:
        raise ProfileError(
            f"The name {short(name)} {why_not}. Choose one such as 'flux dev 20 steps', or 'flux/dev 20 steps' for a "
            "subfolder."
        )
    return parts


def problem(part: str) -> str | None:
    """Why this cannot be part of a file's path on one of the common systems, or None."""
    if not part.strip():
        return "is empty, starts or ends with a slash, or has two in a row"
    if part[0] in ". " or part[-1] in ". ":
        return "has a part that starts or ends with a point or a space"
    if REFUSED.search(part) or not part.isprintable():
        return 'has a character that files cannot have everywhere, one of < > : " | ? * or an invisible one'
    if RESERVED.fullmatch(part):
        return f"has the part {part!r}, which Windows keeps for a device"
    return None
