"""nodes/profile_names.py: names of profiles lead to files within their folder, and nowhere else."""

from __future__ import annotations

import importlib
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.schemas import PACK, pack

pack()
names = importlib.import_module(f"{PACK}.nodes.profile_names")
ProfileError = importlib.import_module(f"{PACK}.fastcache_core.profile").ProfileError


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("flux dev 20", "flux dev 20.safetensors"),
        (" padded ", "padded.safetensors"),
        ("named.safetensors", "named.safetensors"),
        ("flux1.0", "flux1.0.safetensors"),
        ("flux/dev", "flux/dev.safetensors"),
        ("flux\\dev", "flux/dev.safetensors"),
        ("通用", "通用.safetensors"),
        ("console", "console.safetensors"),
    ],
)
def test_names_are_files_of_the_folder(tmp_path: Path, name: str, file: str) -> None:
    assert names.new_path(tmp_path, name, overwrite=False) == tmp_path / file


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "../up",
        "a/../../up",
        "a/..",
        "/absolute",
        "\\\\server\\share",
        "C:\\windows",
        "C:",
        "a//b",
        "a/",
    ]
    + [".hidden", "a/.hidden", "ends.", "a /b", "a\0b", "a\nb", "con", "NUL.txt", "a/lpt1", "what?", "a*", "x" * 201]
    + ["\ud800", "\u202etxt", ".safetensors"],
)
def test_other_names_are_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError, match=r"The name .+\. Choose one such as"):
        names.new_path(tmp_path, name, overwrite=False)
    assert not list(tmp_path.iterdir())


@given(st.text(string.printable + "./\\.. :~\0", max_size=30))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    try:
        parts = names.parts_of(name)
    except ProfileError:
        return
    assert ".." not in parts and Path("/models").joinpath(*parts).resolve().is_relative_to("/models")


def test_what_is_there_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    for file in ("profile", "profile_2"):
        (tmp_path / f"{file}.safetensors").touch()
    assert names.new_path(tmp_path, "profile", overwrite=False).name == "profile_3.safetensors"
    assert names.new_path(tmp_path, "profile", overwrite=True).name == "profile.safetensors"


def test_links_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "fastcache", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    with pytest.raises(ProfileError, match="by a link"):
        names.new_path(folder, "link/sub/profile", overwrite=False)
    assert not list(outside.iterdir())


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "flux").touch()
    with pytest.raises(ProfileError, match="could not be made"):
        names.new_path(tmp_path, "flux/dev", overwrite=False)
