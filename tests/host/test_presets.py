"""Every published method in a real ComfyUI, on families of two kinds: it says what it does, and skips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from demo.graphs import Graph, node
from fastcache_core.calibration.curves import fit_curves
from fastcache_core.calibration.schedules import change_table
from fastcache_core.presets import PRESETS
from fastcache_core.profile import Profile
from hosting.comfy_server import ComfyServer

from .graphs import Report, sample, toy_graph

FAMILIES = ("flux", "wan")  # two lists of blocks, text and image together; one list, a video
ALL = {"block_threshold": 0.1, "max_consecutive_skips": 20}
WIDTH = 64  # of both


def preset_graph(family: str, method: str, strength: float = 0.0, profile: str | None = None) -> Graph:
    """Latents of a toy model, sampled as a method says; profile: the name of a file in models/fastcache."""
    graph = toy_graph(family, ALL)
    graph["preset"] = node("FastCachePreset", method=method, strength=strength)
    graph["fastcache"]["inputs"] |= {"block_cache": ["preset", 0], "token_selector": ["preset", 1]}
    if profile is not None:
        graph["profile"] = node("FastCacheLoadProfile", name=f"{profile}.safetensors")
        graph["fastcache"]["inputs"]["profile"] = ["profile", 0]
    return graph


def steady_profile(report: Report, width: int) -> Profile:
    """A profile of a model whose work hardly changes: recordings of states that rest more and more."""
    sigmas = report["run"]["sigmas"]
    start, drift = torch.randn(2, 6, width, generator=torch.Generator().manual_seed(0))
    states = torch.stack([start + 0.05 * sigma * drift for sigma in sigmas])
    residuals = torch.stack([start + 0.1 * sigma * drift for sigma in sigmas])
    table = change_table(residuals, 4).expand(len(report["blocks"]), -1, -1)
    return Profile(
        report["run"]["family"],
        width,
        report["blocks"],
        {"made": "of steady recordings"},
        curves=fit_curves(states, residuals, sigmas),
        changes=table.clone(),
    )


@pytest.fixture(scope="module")
def profiles(server: ComfyServer) -> dict[str, str]:
    """For every family the name of its profile."""
    names = {}
    for family in FAMILIES:
        _, report = sample(server, toy_graph(family, ALL))
        names[family] = f"steady_{family}"
        folder = Path(server.base) / "models" / "fastcache"
        folder.mkdir(parents=True, exist_ok=True)
        steady_profile(report, WIDTH).save(folder / f"{names[family]}.safetensors")
    return names


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", PRESETS)
def test_a_method_runs_and_skips(server, request, family, method):
    """Toy weights are random, so that thresholds of real models say little: they are raised."""
    profile = request.getfixturevalue("profiles")[family] if PRESETS[method].needs else None
    strength = 5.0 if PRESETS[method].knob == "threshold" and method != "InvarDiff" else 0.0
    latents, report = sample(server, preset_graph(family, method, strength, profile))
    assert np.isfinite(latents).all()
    assert 0.05 < report["computed_fraction"] < 1, report["notes"]
    assert not any("should not happen" in note for note in report["notes"])


@pytest.mark.parametrize("method", [name for name, preset in PRESETS.items() if preset.needs])
def test_without_its_profile_a_method_is_refused_with_a_sentence(server, method):
    with pytest.raises(Exception, match="profile"):
        sample(server, preset_graph("flux", method))
