"""Toy models of every family, one module per line of models."""

from __future__ import annotations

import importlib
import pkgutil

from .toy import Toy

TOYS: dict[str, Toy] = {}
for _module in sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "toy"):
    TOYS |= importlib.import_module(f".{_module}", __name__).TOYS

__all__ = ["TOYS", "Toy"]
