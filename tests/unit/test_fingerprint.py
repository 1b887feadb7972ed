"""nodes/fingerprint.py: inputs that are the same as before are known again, others are not."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from nodes.fingerprint import fingerprint, graph_before

MODEL = nn.Linear(2, 2)


def inputs(**changes) -> dict:
    """Values as a node is given them, made anew at every call but for the model."""
    conditioning = [[torch.arange(6.0).reshape(2, 3), {"pooled_output": torch.ones(1, 2), "start": None}]]
    return {"model": MODEL, "positive": conditioning, "seed": 3, "cfg": 2.5, "sampler_name": "euler", **changes}


def test_the_same_content_is_known_again() -> None:
    assert fingerprint(inputs()) == fingerprint(inputs())


@pytest.mark.parametrize(
    "changes",
    [
        {"model": nn.Linear(2, 2)},
        {"positive": [[torch.arange(6.0).reshape(3, 2), {"pooled_output": torch.ones(1, 2), "start": None}]]},
        {"positive": [[torch.arange(6.0).reshape(2, 3), {"pooled_output": torch.zeros(1, 2), "start": None}]]},
        {"positive": [[torch.arange(6.0).reshape(2, 3).to(torch.bfloat16), {}]]},
        {"positive": []},
        {"seed": 4},
        {"seed": 3.0},
        {"sampler_name": "heun"},
        {"more": 1},
    ],
)
def test_whatever_differs_is_seen(changes: dict) -> None:
    assert fingerprint(inputs()) != fingerprint(inputs(**changes))


def test_nothing_is_kept_alive_and_what_is_gone_equals_nothing() -> None:
    model = nn.Linear(2, 2)
    seen, gone = fingerprint(model), weakref.ref(model)
    assert seen == fingerprint(model)
    del model
    gc.collect()
    assert gone() is None
    assert seen != seen and seen != fingerprint(nn.Linear(2, 2))


def test_what_has_weights_is_compared_by_them() -> None:
    class Adapter:
        def __init__(self, value: float):
            self.weights = (torch.tensor([value]), None)

    patches = [{"weight": [(0.5, Adapter(value), 1.0)]} for value in (1.0, 1.0, 2.0)]
    assert fingerprint(patches[0]) == fingerprint(patches[1]) != fingerprint(patches[2])


def test_the_graph_before_a_node_is_all_that_leads_to_it() -> None:
    load, lora = {"class_type": "Load", "inputs": {"name": "a"}}, {"class_type": "Lora", "inputs": {"model": ["1", 0]}}
    prompt = {
        "1": load,
        "2": lora | {"_meta": {"title": "A"}},
        "3": {"class_type": "Save", "inputs": {"model": ["2", 0]}},
    }
    assert graph_before(prompt, "2") == {"1": ("Load", {"name": "a"}), "2": ("Lora", {"model": ["1", 0]})}
    assert graph_before(prompt, "2.0.1") is None and graph_before(None, "2") is None


def test_what_cannot_be_watched_equals_nothing() -> None:
    value = object()
    assert fingerprint(value) != fingerprint(value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_of_every_kind(dtype: torch.dtype) -> None:
    for tensor in (torch.tensor(1).to(dtype), torch.ones(2, 3).to(dtype).T, torch.empty(0, dtype=dtype)):
        assert fingerprint(tensor) == fingerprint(tensor.clone())
