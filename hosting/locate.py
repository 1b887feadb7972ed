"""Where ComfyUI and a Chromium are on this machine. Standard library only."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BROWSER_COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
BROWSER_FILES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


class SetupError(Exception):
    """A sentence for the person at the terminal: what is wrong, with values, and the cure."""


@dataclass(frozen=True)
class ComfyTree:
    """A ComfyUI source tree: `path` holds main.py. `bundled` trees are ours to download, others are only read."""

    path: Path
    bundled: bool

    def venv(self, state: Path) -> Path:
        """The virtual environment for this tree; every tree has its own, because they pin different frontends."""
        suffix = "" if self.bundled else "-" + hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        return state / f"venv{suffix}"


def find_tree(root: Path, state: Path, environ: Mapping[str, str] = os.environ) -> ComfyTree:
    """Choose the ComfyUI: COMFYUI_PATH, else the one whose custom_nodes holds `root`, else the one kept in `state`."""
    named = environ.get("COMFYUI_PATH")
    if named:
        path = Path(named).expanduser().resolve()
        if not (path / "main.py").is_file():
            raise SetupError(
                f"COMFYUI_PATH is {named}, but there is no main.py in it. "
                "Set it to the folder of a ComfyUI checkout, or unset it to let dev.py download one."
            )
        return ComfyTree(path, bundled=False)
    if root.parent.name == "custom_nodes" and (root.parent.parent / "main.py").is_file():
        return ComfyTree(root.parent.parent, bundled=False)
    return ComfyTree(state / "comfyui", bundled=True)


def venv_python(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / "Scripts" / "python.exe" if sys.platform == "win32" else venv / "bin" / "python"


def find_chromium(environ: Mapping[str, str] = os.environ) -> str | None:
    """Path of a Chromium or Chrome: CHROMIUM_PATH, the search path, the usual places; None if there is none."""
    named = environ.get("CHROMIUM_PATH")
    if named:
        if not Path(named).is_file():
            raise SetupError(f"CHROMIUM_PATH is {named}, but that is not a file. Set it to the browser's executable.")
        return named
    found = (shutil.which(command, path=environ.get("PATH")) for command in BROWSER_COMMANDS)
    return next((path for path in found if path), next((file for file in BROWSER_FILES if Path(file).is_file()), None))
