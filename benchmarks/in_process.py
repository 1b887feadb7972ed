"""ComfyUI's samplers and this pack in this very process, without a server: for clocks that a server would be in the
way of. Importing ComfyUI reads its command line, so it can be started once, for one device."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from hosting.launch import provide_torchaudio, provide_torchvision
from hosting.process import CPU_ARGUMENTS

ROOT = Path(__file__).resolve().parent.parent
PACK = "fastcache_pack"  # what the pack is called when it is imported from here


def start(tree: Path, device: str) -> ModuleType:
    """Make ComfyUI's modules importable from a checkout of it, and return the pack's host module (nodes/host.py)."""
    arguments = ["--use-pytorch-cross-attention"] if device == "cuda" else list(CPU_ARGUMENTS)
    if device == "cpu":
        provide_torchvision()
        provide_torchaudio()
    sys.path.insert(0, str(tree))
    sys.argv = [str(tree / "main.py"), *arguments]
    importlib.import_module("comfy.options").enable_args_parsing()
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    sys.modules[PACK] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{PACK}.nodes.host")
