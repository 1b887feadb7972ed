"""One declarative file per family of diffusion transformers; `find_family` picks the one a loaded model belongs to.

A file becomes part of this by lying here; what it declares is found by its type.
"""

from __future__ import annotations

import importlib
import pkgutil

from torch import nn

from .family import BlockList, Family

_modules = [importlib.import_module(f".{found.name}", __name__) for found in pkgutil.iter_modules(__path__)]
_declared = [value for module in _modules for value in vars(module).values() if isinstance(value, Family)]
FAMILIES: tuple[Family, ...] = tuple({family.name: family for family in _declared}.values())

__all__ = ["FAMILIES", "BlockList", "Family", "find_family"]


def find_family(model: nn.Module) -> Family | None:
    """The family that names the model's class, or else the closest of the classes it derives from; None for no such."""
    by_class = {name: family for family in FAMILIES for name in family.classes}
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(model).__mro__)
    return next((by_class[name] for name in names if name in by_class), None)
