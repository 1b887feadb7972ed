"""FastCacheSaveProfile and FastCacheLoadProfile: what calibration learned, to a file and back."""

from __future__ import annotations

import logging
from dataclasses import replace

from comfy_api.latest import io

from ..fastcache_core.profile import Profile
from .checks import complaint
from .origin import of_workflow
from .profile_files import FOLDER, existing, own_folder, profile_names, register_folder
from .profile_names import SUFFIX, new_path, parts_of

ProfileSocket = io.Custom("FASTCACHE_PROFILE")
NONE_YET = "(none yet)"
log = logging.getLogger(__name__)
register_folder()


class FastCacheSaveProfile(io.ComfyNode):
    """FASTCACHE_PROFILE in, a file, and the same profile out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheSaveProfile",
            display_name="FastCache Save Profile",
            category="model/patch",
            description="Keeps what FastCache Calibrate learned, as a file in models/fastcache.",
            is_experimental=True,
            is_output_node=True,
            inputs=[
                ProfileSocket.Input("profile", tooltip="From FastCache Calibrate."),
                io.String.Input(
                    "name",
                    default="profile",
                    tooltip="Of the file in models/fastcache, without its ending; flux/dev is dev in the subfolder "
                    "flux.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    tooltip="What happens to a profile of the same name. Off: it stays, and a number is added to this "
                    "one's name; on: this one takes its place.",
                ),
            ],
            outputs=[
                ProfileSocket.Output(display_name="profile", tooltip="The same profile, for FastCache's profile."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name) -> bool | str:
        return complaint(parts_of, name=name)

    @classmethod
    def execute(cls, profile, name, overwrite) -> io.NodeOutput:
        path = new_path(own_folder(), name, overwrite)
        file = path.relative_to(own_folder())
        saved = named(profile, file.with_suffix("").as_posix())
        saved.save(path)
        log.info("FastCache: the profile was saved as %s.", path)
        sentence = f"Saved as {file.as_posix()} in models/{FOLDER}."
        return io.NodeOutput(saved, ui={"text": [sentence], **of_workflow(cls.hidden.extra_pnginfo)})


class FastCacheLoadProfile(io.ComfyNode):
    """A file in, FASTCACHE_PROFILE out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheLoadProfile",
            display_name="FastCache Load Profile",
            category="model/patch",
            description="A profile that FastCache Save Profile has kept, for FastCache.",
            is_experimental=True,
            inputs=[
                io.Combo.Input(
                    "name",
                    options=profile_names() or [NONE_YET],
                    tooltip="A file in models/fastcache. (none yet): there is no file; make one with FastCache "
                    "Calibrate and FastCache Save Profile, then press R.",
                ),
            ],
            outputs=[ProfileSocket.Output(display_name="profile", tooltip="For FastCache's profile.")],
        )

    @classmethod
    def validate_inputs(cls, name) -> bool | str:
        return complaint(existing, name=name)

    @classmethod
    def fingerprint_inputs(cls, name) -> str:
        state = existing(name).stat()
        return f"{state.st_mtime_ns} {state.st_size}"

    @classmethod
    def execute(cls, name) -> io.NodeOutput:
        return io.NodeOutput(named(Profile.load(existing(name)), name.removesuffix(SUFFIX)))


def named(profile: Profile, name: str) -> Profile:
    """The profile with the name by which reports speak of it, which is that of its file."""
    return replace(profile, made_for={**profile.made_for, "name": name})
