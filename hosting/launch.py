"""Run a ComfyUI tree's main.py beside a CPU build of torch: python launch.py TREE [main.py's arguments].

Two packages ComfyUI imports may have no binaries that match such a torch. torchvision then lacks the schemas of its
operators, which is cured by declaring them; torchaudio is replaced by a stand-in whose functions refuse to run.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

OPERATORS = ("nms", "qnms")
# A library that is garbage collected takes its operators with it.
KEPT: list[object] = []


class Unavailable:
    """Takes the place of every function and class of torchaudio."""

    def __init__(self, *args: object, **kwargs: object):
        raise RuntimeError(
            "torchaudio cannot be imported here, so this audio operation cannot run. "
            "Install the torchaudio that belongs to the installed torch."
        )


def provide_torchvision() -> None:
    """Import torchvision; where its binary does not fit torch, declare its operators first and import it again."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        declare_operators()
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        importlib.import_module("torchvision")


def declare_operators() -> None:
    """Declare the operators that torchvision attaches shape functions to while it is imported."""
    from torch.library import Library

    library = Library("torchvision", "DEF")
    for operator in OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    KEPT.append(library)


def provide_torchaudio() -> None:
    """Put a stand-in into sys.modules where torchaudio is missing or cannot be loaded."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        package = stand_in("torchaudio")
        package.__path__ = []
        for child in ("functional", "transforms"):
            setattr(package, child, stand_in(f"torchaudio.{child}"))


def stand_in(name: str) -> ModuleType:
    """A module, registered under `name`, in which every public name is `Unavailable`."""

    def attribute(wanted: str) -> type[Unavailable]:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return Unavailable

    module = ModuleType(name)
    # Others ask importlib.util.find_spec() whether torchaudio is there; it raises for a module without a spec.
    module.__spec__ = ModuleSpec(name, None)
    module.__getattr__ = attribute  # type: ignore[method-assign]
    sys.modules[name] = module
    return module


def main(tree: str, *arguments: str) -> None:
    """Start `tree`/main.py as if it had been called directly."""
    if "--cpu" in arguments:
        provide_torchvision()
        provide_torchaudio()
    sys.path[0] = tree
    sys.argv = [str(Path(tree, "main.py")), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
