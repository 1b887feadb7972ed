"""The folder `fastcache` among ComfyUI's models, where profiles are."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ..fastcache_core.profile import ProfileError
from .profile_names import SUFFIX

FOLDER = "fastcache"


def register_folder() -> None:
    """Let ComfyUI know the folder, beside those that extra_model_paths.yaml names; only profiles are listed of it."""
    folder_paths.add_model_folder_path(FOLDER, str(own_folder()))
    folder_paths.folder_names_and_paths[FOLDER][1].add(SUFFIX)


def own_folder() -> Path:
    """models/fastcache, where profiles are saved."""
    return Path(folder_paths.models_dir) / FOLDER


def profile_names() -> list[str]:
    """All profiles there are, as paths within their folder."""
    return list(folder_paths.get_filename_list(FOLDER))


def existing(name: str) -> Path:
    """The file of a profile that is listed; ProfileError for any other name."""
    names = profile_names()
    path = folder_paths.get_full_path(FOLDER, name) if name in names else None
    if path is not None:
        return Path(path)
    if names:
        raise ProfileError(
            f"There is no profile {name!r} in models/{FOLDER}. Choose one of the list, or press R to refresh it."
        )
    raise ProfileError(
        f"There are no profiles in models/{FOLDER} yet. Make one with FastCache Calibrate and keep it with FastCache "
        "Save Profile, or put a file there; then press R to refresh the list."
    )
