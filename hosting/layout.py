"""ComfyUI's base directory for tests and the demo: its folders, the pack linked into them. Standard library only."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

FOLDERS = ("custom_nodes", "models/diffusion_models", "models/embeddings", "input", "output", "temp", "user")
LINKS = {
    ".": "custom_nodes/ComfyUI-FastCache",
    "demo/comfy_nodes": "custom_nodes/fastcache_demo_nodes",
    "demo/model/fastcache_demo_dit.safetensors": "models/diffusion_models/fastcache_demo_dit.safetensors",
    "demo/model/fastcache_demo_edit.safetensors": "models/diffusion_models/fastcache_demo_edit.safetensors",
    "demo/model/fastcache_demo_references.safetensors": "models/diffusion_models/fastcache_demo_references.safetensors",
    "demo/model/fastcache_demo_words.safetensors": "models/embeddings/fastcache_demo_words.safetensors",
    "demo/model/fastcache_demo_video.safetensors": "models/diffusion_models/fastcache_demo_video.safetensors",
    "demo/model/fastcache_demo_video_words.safetensors": "models/embeddings/fastcache_demo_video_words.safetensors",
}
TEST_LINKS = {"tests/host/toy_nodes": "custom_nodes/fastcache_toy_nodes"}
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "out")


def prepare_base(base: Path, root: Path, tests: bool = False) -> Path:
    """Create what ComfyUI expects in `base` and link the pack, the demo's nodes and its model, where they exist.

    tests: link the tests' nodes as well.
    """
    for folder in FOLDERS:
        (base / folder).mkdir(parents=True, exist_ok=True)
    for source, destination in (LINKS | TEST_LINKS if tests else LINKS).items():
        link(root / source, base / destination)
    return base


def link(source: Path, destination: Path) -> None:
    """Make `destination` show `source`: a symbolic link, else a Windows junction, else a copy, refreshed every time."""
    if destination.is_symlink() and source.exists() and destination.resolve() == source.resolve():
        return
    remove(destination)
    if not source.exists():
        return
    try:
        destination.symlink_to(source.resolve(), target_is_directory=source.is_dir())
    except OSError:
        # Windows allows symbolic links only to administrators and in developer mode.
        _junction_or_copy(source.resolve(), destination)


def _junction_or_copy(source: Path, destination: Path) -> None:
    if source.is_file():
        shutil.copy2(source, destination)
    elif not _junction(source, destination):
        shutil.copytree(source, destination, ignore=NOT_COPIED)


def _junction(source: Path, destination: Path) -> bool:
    if sys.platform != "win32":
        return False
    import _winapi

    try:
        _winapi.CreateJunction(str(source), str(destination))
    except OSError:
        return False
    return True


def remove(path: Path) -> None:
    """Remove a link, a junction or a copy, and never what a link or a junction points to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        try:
            # Succeeds for a junction, which is how it goes without its target.
            os.rmdir(path)
        except OSError:
            shutil.rmtree(path)
