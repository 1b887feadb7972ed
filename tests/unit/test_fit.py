"""nodes/fit.py: whether a profile is of a model, and what was different when it was made."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from tests.unit.schemas import PACK, pack

pack()
fit = importlib.import_module(f"{PACK}.nodes.fit")
Profile = importlib.import_module(f"{PACK}.fastcache_core.profile").Profile
Schedule = importlib.import_module(f"{PACK}.fastcache_core.schedule").Schedule
PerChannel = importlib.import_module(f"{PACK}.fastcache_core.linear").PerChannel
BlockCacheConfig = importlib.import_module(f"{PACK}.fastcache_core.config").BlockCacheConfig


class Block(nn.Module):
    """Linear layers of a transformer's block, of a width and with an MLP in between."""

    def __init__(self, width: int):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.text = nn.Linear(10, 2 * width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)


class Model(nn.Module):
    def __init__(self, width: int = 16, blocks: int = 4):
        super().__init__()
        self.layers = nn.ModuleList(Block(width) for _ in range(blocks))


def profile(**changes) -> Profile:
    return Profile(**{"family": "unknown", "width": 16, "blocks": [f"layer {i}" for i in range(4)], **changes})


def test_the_profile_of_the_model_fits() -> None:
    assert fit.misfit(profile(), Model()) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"family": "flux"}, "of a flux model, but the loaded model is unknown"),
        ({"blocks": ["layer 0"]}, "of 1 blocks, but the loaded model has 4"),
        ({"width": 32}, "of width 32, but the loaded model is 16 wide"),
        ({"width": 64}, "of width 64, but the loaded model is 16 wide"),
    ],
)
def test_others_are_refused_in_a_sentence(changes: dict, sentence: str) -> None:
    assert sentence in fit.misfit(profile(**changes), Model())


def test_models_without_blocks_fit_no_profile() -> None:
    sentence = fit.misfit(profile(), nn.Sequential(nn.Linear(4, 4)))
    assert "Sequential is none in which FastCache finds blocks" in sentence


def test_either_width_of_two_streams_may_be_the_profiles() -> None:
    assert set(fit.widths_of(nn.ModuleList([Block(16), Block(24)]))) >= {16, 24}


def test_a_width_that_cannot_be_told_is_not_compared() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList(nn.Conv1d(16, 16, 1) for _ in range(4))
    assert fit.widths_of(model.layers[0]) == []
    assert fit.misfit(profile(), model) is None


def test_what_differs_is_told_with_both_values() -> None:
    made = profile(made_for={"sampler": "euler", "cfg": 3.0, "steps": 20})
    assert fit.used_otherwise(made, {"sampler": "euler", "cfg": 3.0}) is None
    assert fit.used_otherwise(made, {"sampler": "dpmpp_2m", "cfg": 1.0, "unknown": 1}) == (
        "The profile was made with sampler euler, cfg 3.0; this run has sampler dpmpp_2m, cfg 1.0, which it may suit "
        "less."
    )


SCHEDULED = Schedule([1.0, 0.5], [[1] * 4, [0] * 4])
MAPS = {(0, 3, "image"): PerChannel(torch.zeros(16))}


@pytest.mark.parametrize(
    ("settings", "predictor", "planned", "sentence"),
    [
        ({"rule": "schedule"}, "linear", True, "The profile 'mine' is used: its schedule and linear maps."),
        ({"rule": "schedule"}, "reuse", True, "The profile 'mine' is used: its schedule."),
        ({"rule": "schedule", "mask": "procache"}, "reuse", True, "The profile 'mine' is used: its change table."),
        (
            {"rule": "schedule", "threshold": 0.0},
            "reuse",
            True,
            "Nothing of the profile 'mine' is used: the block cache is off.",
        ),
        ({"rule": "magnitude"}, "reuse", False, "The profile 'mine' is used: its curves."),
        ({"rule": "significance"}, "linear", False, "The profile 'mine' is used: its linear maps."),
        (
            {"rule": "interval"},
            "reuse",
            False,
            "Nothing of the profile 'mine' is used: the rule interval and the predictor reuse do not look at it.",
        ),
    ],
)
def test_what_is_used_of_a_profile_is_told(settings, predictor, planned, sentence) -> None:
    known = profile(made_for={"name": "mine"}, schedule=SCHEDULED, linear=MAPS)
    assert fit.use_of(known, BlockCacheConfig(**settings), predictor, planned) == sentence


def test_a_profile_without_a_name_is_one_that_was_not_saved() -> None:
    told = fit.use_of(profile(schedule=SCHEDULED), BlockCacheConfig(rule="schedule"), "extrapolate", True)
    assert told == "The profile, which was not saved, is used: its schedule."
    told = fit.use_of(profile(), BlockCacheConfig(), "linear", False)
    assert told.startswith("Nothing of the profile, which was not saved, is used: the rule significance")
