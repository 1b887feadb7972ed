"""nodes/curve.py: SIGMAS and FLOATS as factors on a threshold."""

from __future__ import annotations

import importlib

import pytest
import torch

from tests.unit.schemas import PACK, pack

pack()
curve_of = importlib.import_module(f"{PACK}.nodes.curve").curve_of


@pytest.mark.parametrize(
    ("values", "factors"),
    [
        (None, ()),
        (torch.tensor([1.0, 0.5, 0.0]), (1.0, 0.5, 0.0)),
        ([1, 0.25], (1.0, 0.25)),
        ((2.0,), (2.0,)),
        (0.5, (0.5,)),
    ],
)
def test_sigmas_floats_and_nothing_are_factors(values, factors):
    assert curve_of(values) == factors


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "threshold_curve is empty"),
        (torch.zeros(0), "threshold_curve is empty"),
        ("0.1, 0.2", "threshold_curve is a str"),
        ([0.1, "0.2"], "threshold_curve is a list, but it must be SIGMAS or a list of numbers"),
    ],
)
def test_what_is_neither_is_refused_with_a_sentence(values, words):
    with pytest.raises(ValueError, match=words):
        curve_of(values)
