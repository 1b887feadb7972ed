"""Checking widget values before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def complaint(make: Callable[..., Any], **values: Any) -> bool | str:
    """True, or the sentence with which `make` refuses these values; for a node's validate_inputs.

    A connected input has no value yet, it is None: then nothing can be said until the node is executed.
    """
    if any(value is None for value in values.values()):
        return True
    try:
        make(**values)
    except ValueError as problem:
        return str(problem)
    return True
