"""Nodes that tell what happened, as text."""

from __future__ import annotations

import gc
import json
import pkgutil
import threading
from typing import Any

import torch
from comfy_api.latest import io

from .patches import KEY
from .registry import toy_node


@toy_node("Calls", [io.Model.Input("model"), io.Latent.Input("after_sample")], shows=True)
def calls(model: Any, after_sample: Any) -> str:
    """Evaluations and model calls of the last sampling run of a model that `FastCacheToySplit` has seen."""
    splitting = model.get_attachment(KEY)
    return json.dumps([splitting.evaluations, splitting.calls])


@toy_node("Tensors", [io.Latent.Input("after_sample"), io.Int.Input("run", default=0)], shows=True)
def tensors(after_sample: Any, run: int) -> str:
    """How many tensors live in this process, and their bytes."""
    gc.collect()
    living = [found for found in gc.get_objects() if issubclass(type(found), torch.Tensor)]
    return json.dumps([len(living), sum(found.numel() * found.element_size() for found in living)])


@toy_node("Compiled", [io.Latent.Input("after_sample")], shows=True)
def compiled(after_sample: Any) -> str:
    """How many graphs torch.compile has made in this process."""
    from torch._dynamo.utils import counters  # slow to import, and not needed where nothing is compiled

    return json.dumps(counters["stats"]["unique_graphs"])


@toy_node("Threads", [io.Int.Input("run", default=0)], shows=True)
def threads(run: int) -> str:
    """Names of the threads of this process."""
    return json.dumps([thread.name for thread in threading.enumerate()])


@toy_node("Forwards", [io.Model.Input("model"), io.Latent.Input("after_sample")], shows=True)
def forwards(model: Any, after_sample: Any) -> str:
    """Names of the model's modules whose forward is not that of their class."""
    modules = model.model.diffusion_model.named_modules()
    return json.dumps([name for name, module in modules if "forward" in vars(module)])


@toy_node("Symbols", [io.String.Input("names")], shows=True)
def symbols(names: str) -> str:
    """Those of these dotted names, a JSON list, that this ComfyUI does not have."""
    return json.dumps([name for name in json.loads(names) if not exists(name)])


def exists(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True
