"""Latents as tokens: as many as the model makes, and back again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from nodes.latents import as_latents, as_tokens, patch_of, places


@pytest.mark.parametrize(
    ("said", "shape", "patch"),
    [
        (2, (1, 4, 6, 8), (1, 2, 2)),
        ((1, 2, 2), (1, 4, 3, 6, 8), (1, 2, 2)),
        ([4, 4], (1, 3, 32, 32), (1, 4, 4)),
        (2, (1, 4, 5, 8), (1, 1, 1)),  # the model pads
        (2, (1, 4, 7), (1, 1, 1)),
        ("two", (1, 4, 6, 8), (1, 1, 1)),
        ((1, 0, 2), (1, 4, 3, 6, 8), (1, 1, 1)),
        (None, (1, 4, 6, 8), (1, 1, 1)),
        (2, (2, 1, 1800), (1, 1, 1800)),  # several latents in one row of numbers
    ],
)
def test_patches_are_the_models_where_they_fit(said, shape, patch):
    assert patch_of(SimpleNamespace(patch_size=said), shape) == patch


def test_a_model_that_says_nothing_has_a_token_for_every_place():
    assert patch_of(object(), (1, 4, 6, 8)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("shape", "patch", "tokens"),
    [
        ((2, 4, 6, 8), (1, 2, 2), 12),
        ((2, 4, 3, 6, 8), (1, 2, 2), 36),
        ((2, 4, 7), (1, 1, 1), 7),
        ((2, 4), (1, 1, 1), 1),
        ((2, 1, 90), (1, 1, 90), 1),
    ],
)
def test_there_and_back_is_the_same(shape, patch, tokens):
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    there = as_tokens(x, patch)
    assert there.shape[:2] == (2, tokens)
    assert torch.equal(as_latents(there, shape, patch), x)


def test_a_token_holds_its_own_places():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 2:, :2] = 1
    assert as_tokens(x, (1, 2, 2))[0].mean(dim=1).tolist() == [0, 0, 1, 0]
    assert places((1, 16, 21, 60, 104)) == (21, 60, 104) and places((1, 3, 8, 8)) == (1, 8, 8)
