"""Profiles in a real ComfyUI: saved, loaded, followed, and refused where they are of something else."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.graphs import Graph, node
from fastcache_core.linear import PerChannel
from fastcache_core.profile import Profile
from fastcache_core.schedule import Schedule
from hosting.comfy_server import ComfyServer
from hosting.process import ComfyError

from .graphs import bypassed, graph, refined, sample, toy_graph

STEPS, BLOCKS, WIDTH = 20, 16, 128
MASK = [[1] * BLOCKS, [1] * BLOCKS, *[[i % 2] * BLOCKS for i in range(STEPS - 3)], [1] * BLOCKS]


@pytest.fixture(scope="module")
def folder(server: ComfyServer) -> Path:
    """models/fastcache of the ComfyUI under test, with the profile `demo`."""
    found = server.base / "models/fastcache"
    found.mkdir(parents=True, exist_ok=True)
    made().save(found / "demo.safetensors")
    return found


def made(**changes) -> Profile:
    """A profile of the demo model whose schedule computes every other evaluation."""
    sigmas = [1 - i / STEPS for i in range(STEPS)]
    names = [f"double {i}" for i in range(4)] + [f"single {i}" for i in range(12)]
    made_for = {"sampler": "euler", "steps": STEPS, "cfg": 3.0}
    return Profile(**{"family": "hunyuan_video", "width": WIDTH, "blocks": names, "made_for": made_for,
                      "schedule": Schedule(sigmas, MASK), **changes})  # fmt: skip


def with_profile(graph: Graph, name: str) -> Graph:
    """The same graph with a profile that is loaded for its FastCache node."""
    fastcache = node("FastCache", **graph["fastcache"]["inputs"], profile=["profile", 0])
    return {**graph, "fastcache": fastcache, "profile": node("FastCacheLoadProfile", name=f"{name}.safetensors")}


def saving(name: str, overwrite: bool = False, source: str = "demo") -> Graph:
    return {
        "load": node("FastCacheLoadProfile", name=f"{source}.safetensors"),
        "save": node("FastCacheSaveProfile", profile=["load", 0], name=name, overwrite=overwrite),
    }


def test_the_schedule_of_a_profile_is_followed(server, folder):
    _, report = sample(server, with_profile(graph(fastcache={}), "demo"))
    assert report["run"]["rule"] == "schedule"
    assert report["run"]["profile"] == {"name": "demo", "sampler": "euler", "steps": STEPS, "cfg": 3.0}
    assert report["computed"] == MASK
    assert report["notes"] == ["The profile 'demo' is used: its schedule."]
    assert "The profile 'demo' is used: its schedule." in server.log()


def test_a_connected_block_cache_decides_about_the_rule(server, folder):
    followed = refined(with_profile(graph(fastcache={}), "demo"), {"rule": "interval", "interval": 2})
    _, report = sample(server, followed)
    assert report["run"]["rule"] == "interval"
    assert "Nothing of the profile 'demo' is used: the rule interval" in report["notes"][0]
    _, report = sample(server, refined(with_profile(graph(fastcache={}), "demo"), {"rule": "schedule"}))
    assert report["computed"] == MASK


def test_a_threshold_of_0_switches_it_off(server, folder):
    off = with_profile(graph(fastcache={"block_threshold": 0.0}), "demo")
    reference, _ = sample(server, bypassed(off))
    latents, report = sample(server, off)
    assert np.array_equal(latents, reference) and "Switched off" in report["notes"][0]


def test_bypassed_after_a_run_with_a_profile_nothing_is_left(server, folder):
    followed = with_profile(graph(seed=31, fastcache={}), "demo")
    before, _ = sample(server, bypassed(followed))
    cached, _ = sample(server, followed)
    again = bypassed(followed)
    again["sample"]["inputs"]["denoise"] = 0.9999999  # another input, so that the sampler runs again
    after, _ = sample(server, again)
    assert np.array_equal(after, before) and not np.array_equal(cached, before)


def test_two_samplers_share_a_profile_and_what_differs_is_told(server, folder):
    both = with_profile(graph(fastcache={}), "demo")
    inputs = both["sample"]["inputs"]
    both["other"] = node("KSampler", **(inputs | {"sampler_name": "dpmpp_2m", "steps": 30, "cfg": 2.0}))
    both["preview other"] = node("FastCachePreview", model=["fastcache", 0], after_sample=["other", 0])
    both["preview"]["inputs"]["after_sample"] = ["sample", 0]
    outputs = server.run({key: entry for key, entry in both.items() if key not in ("decode", "save", "map")})["outputs"]
    reports = [outputs[key]["fastcache_report"][0] for key in ("preview", "preview other")]
    (report,) = (found for found in reports if found["run"]["steps"] == 30)
    assert len(report["computed"]) == 30 and 0.4 < report["computed_fraction"] < 0.7
    notes = " ".join(report["notes"])
    assert "made with sampler euler, cfg 3.0; this run has sampler dpmpp_2m, cfg 2.0" in notes
    assert "carried over by sigma to these 30 steps" in notes


def test_linear_maps_of_a_profile_are_used(server, folder):
    maps = {(0, 15, "img"): PerChannel(torch.zeros(WIDTH))}
    try:
        made(linear=maps, schedule=None).save(folder / "linear.safetensors")
        _, report = sample(server, with_profile(graph(fastcache={}), "linear"))
        assert report["run"]["rule"] == "significance" and report["run"]["predictor"] == "linear"
    finally:
        (folder / "linear.safetensors").unlink()


def test_a_profile_that_is_saved_again_keeps_what_is_there(server, folder):
    for name, overwrite, file in [("new/a", False, "new/a"), ("new/a ", False, "new/a_2"), ("new/a", True, "new/a")]:
        outputs = server.run(saving(name, overwrite))["outputs"]
        assert outputs["save"]["text"] == [f"Saved as {file}.safetensors in models/fastcache."]
        assert Profile.load(folder / f"{file}.safetensors").made_for["name"] == file
    assert sorted(path.name for path in (folder / "new").iterdir()) == ["a.safetensors", "a_2.safetensors"]


@pytest.mark.parametrize("name", ["", "../up", "/tmp/profile", "a/../../up", "nul", "a\0b", "x" * 300])
def test_names_that_leave_the_folder_are_refused_before_anything_runs(server, folder, name):
    with pytest.raises(ComfyError, match=r"The name .+ Choose one such as"):
        server.run(saving(name))
    for known in (f"../diffusion_models/{name}", "../fastcache/demo.safetensors", str(folder / "demo.safetensors")):
        with pytest.raises(ComfyError, match="There is no profile"):
            server.run(
                {"load": node("FastCacheLoadProfile", name=known), "show": node("PreviewAny", source=["load", 0])}
            )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"family": "flux"}, "The profile is of a flux model, but the loaded model is hunyuan_video"),
        ({"width": 64, "blocks": made().blocks}, "of width 64, but the loaded model is 128 wide"),
        ({"blocks": ["double 0"], "schedule": None}, "of 1 blocks, but the loaded model has 16"),
    ],
)
def test_profiles_of_other_models_are_refused(server, folder, changes, sentence):
    made(**changes).save(folder / "other.safetensors")
    with pytest.raises(ComfyError) as refusal:
        sample(server, with_profile(graph(fastcache={}), "other"))
    assert sentence in str(refusal.value)


def test_broken_files_are_refused(server, folder):
    whole = (folder / "demo.safetensors").read_bytes()
    made(linear={(0, 15, "img"): PerChannel(torch.zeros(WIDTH))}).save(folder / "map.safetensors")
    poisoned = {name: tensor.fill_(float("nan")) for name, tensor in load_file(folder / "map.safetensors").items()}
    save_file(poisoned, folder / "nan.safetensors", _metadata(folder / "map.safetensors"))
    files = {"short": whole[:-9], "newer": whole.replace(b"profile/1", b"profile/2"), "text": b"no profile"}
    for name, content in files.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    sentences = {
        "short": "is cut short",
        "newer": "Update ComfyUI-FastCache",
        "text": "is cut short",
        "nan": "has a NaN",
    }
    for name, sentence in sentences.items():
        with pytest.raises(ComfyError) as refusal:
            sample(server, with_profile(graph(fastcache={}), name))
        assert sentence in str(refusal.value)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def test_a_file_that_changes_is_read_again(server, folder):
    made().save(folder / "changing.safetensors")
    before, _ = sample(server, with_profile(graph(fastcache={}), "changing"))
    made(schedule=Schedule([1 - i / STEPS for i in range(STEPS)], [[1] * BLOCKS] * STEPS)).save(
        folder / "changing.safetensors"
    )
    os.utime(folder / "changing.safetensors", (1, 1))
    after, report = sample(server, with_profile(graph(fastcache={}), "changing"))
    assert report["computed_fraction"] == 1 and not np.array_equal(before, after)


def test_the_rule_schedule_needs_a_profile(server):
    with pytest.raises(ComfyError, match="needs a profile with a schedule. Connect what FastCache Calibrate"):
        sample(server, refined(graph(fastcache={}), {"rule": "schedule"}))


def test_a_u_net_fits_no_profile(server, folder):
    with pytest.raises(ComfyError, match="is none in which FastCache finds blocks"):
        sample(server, with_profile(toy_graph("unet", {}), "demo"))


def test_the_level_model_output_follows_a_schedule_and_looks_at_nothing_else_of_a_profile(server, folder):
    whole = {"level": "model_output"}
    _, report = sample(server, refined(with_profile(graph(fastcache={}), "demo"), whole))
    assert any(note.startswith("Nothing of the profile 'demo' is used: the rule sig") for note in report["notes"])
    _, report = sample(server, refined(with_profile(graph(fastcache={}), "demo"), whole | {"rule": "schedule"}))
    assert report["computed"] == MASK and report["notes"] == ["The profile 'demo' is used: its schedule."]


def test_a_schedule_for_the_whole_model_is_followed_there(server, folder):
    made(schedule=dataclasses.replace(made().schedule, whole=True)).save(folder / "whole.safetensors")
    _, report = sample(server, with_profile(graph(fastcache={}), "whole"))
    assert report["computed"] == MASK and report["run"]["level"] == "model_output"
    _, report = sample(server, with_profile(graph(fastcache={"token_threshold": 0.02}), "whole"))
    assert report["run"]["level"] == "stack", report["notes"]
