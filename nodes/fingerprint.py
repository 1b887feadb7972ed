"""Whether a node is given the same as before: values that compare as equal only then."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .audience import sources

PLAIN = (str, bytes, int, float, bool, type(None))


def fingerprint(value: Any) -> Any:
    """What equals another fingerprint if the values have the same content, or are the same object.

    Tensors, texts, numbers, collections of them and what has weights (LoRAs) are compared by content, everything else
    (models, control nets, hooks) by identity. Neither is kept alive by it.
    """
    if isinstance(value, PLAIN):
        return type(value).__name__, value
    if getattr(value, "is_nested", False):
        return "nested", tuple(map(fingerprint, value.unbind()))
    if isinstance(value, Tensor):
        return "tensor", str(value.dtype), tuple(value.shape), _digest(value)
    if isinstance(value, Mapping):
        return "mapping", {repr(key): fingerprint(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return "sequence", tuple(map(fingerprint, value))
    if isinstance(getattr(value, "weights", None), list | tuple):
        return type(value).__name__, fingerprint(value.weights)
    return Identity(value)


def graph_before(prompt: Any, node: Any) -> Any:
    """What of a prompt leads to a node, and the node itself, without titles; None for nodes that are not in it.

    A model is what the nodes before it make of their inputs, also when ComfyUI has to run them once more.
    """
    if not isinstance(prompt, Mapping) or node not in prompt:
        return None
    return {key: (prompt[key]["class_type"], prompt[key]["inputs"]) for key in sources(prompt, [node, 0])}


def _digest(tensor: Tensor) -> str:
    octets = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(octets.numpy()).hexdigest()


class Identity:
    """Equal to that of the same object while it lives; to none, where Python cannot tell when it no longer does."""

    def __init__(self, value: Any):
        try:
            self.value = weakref.ref(value)
        except TypeError:
            self.value = type(None)  # always makes None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.value() is not None and self.value() is other.value()
