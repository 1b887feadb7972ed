"""The video demo: its model loads as a Wan 2.1, draws what moves over what stands still, and FastCache serves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo.data import CLASSES
from demo.demo import sample as sample_pictures
from demo.graphs import Graph, node
from demo.train_video import FIRST_MOTION, MOTIONS, Trainee
from demo.video import FRAMES, SIZE, STEPS, graph
from fastcache_core.metrics import psnr

from .graphs import DEFAULTS, sample

MODEL = Path(__file__).resolve().parents[2] / "demo" / "model"
PROMPTS = ("trousers right", "boot left", "dress up", "bag down")
SEED = 1


def cached(steps: int = STEPS, **settings: Any) -> Graph:
    """The graph with FastCache; settings: changes to its default widget values."""
    changed = graph(SEED, PROMPTS, steps)
    changed["fastcache"] = node("FastCache", model=["shift", 0], **(DEFAULTS | settings))
    changed["preview"] = node("FastCachePreview", model=["fastcache", 0], after_sample=["sample", 0])
    changed["sample"]["inputs"]["model"] = ["fastcache", 0]
    return changed


def videos(server: Any, queued: Graph) -> np.ndarray:
    """Grey videos [prompts, frames, height, width] in 0..1."""
    return sample_pictures(server, queued).images[..., 0].reshape(-1, FRAMES, SIZE, SIZE)


@pytest.fixture(scope="module")
def reference(server) -> np.ndarray:
    return videos(server, graph(SEED, PROMPTS))


def test_the_background_stands_still(reference):
    assert reference.shape == (len(PROMPTS), FRAMES, SIZE, SIZE)
    spread = reference.std(axis=1)
    assert np.median(spread, axis=(1, 2)).max() <= 0.02, np.median(spread, axis=(1, 2))
    # What stands still is drawn, and dark: backgrounds are a smooth pattern between 0 and 0.5.
    still = reference.mean(axis=1)[spread < 0.02]
    assert 0.1 <= still.mean() <= 0.4 and still.std() >= 0.05, (still.mean(), still.std())


def test_what_is_bright_moves(reference):
    changing = (reference.std(axis=1) > 0.05).mean(axis=(1, 2))
    assert 0.04 <= changing.min() and changing.max() <= 0.4, changing
    bright = reference > 0.6  # than which backgrounds are darker
    assert bright.sum(axis=(2, 3)).mean(axis=1).min() >= 30, bright.sum(axis=(2, 3))
    first, last = bright[:, 0], bright[:, -1]
    stayed = (first & last).sum() / (first | last).sum()
    assert stayed <= 0.3, stayed


def test_fastcache_stays_close(server, reference):
    run = sample_pictures(server, cached())
    report = run.outputs["preview"]["fastcache_report"][0]
    assert report["run"]["family"] == "wan" and report["tokens"]["grid"] == [FRAMES, 6, 6]
    assert report["computed_fraction"] <= 0.8, report["notes"]
    each = run.images[..., 0].reshape(reference.shape)
    assert np.mean([psnr(a, b) for a, b in zip(each, reference, strict=True)]) >= 28


def test_without_thresholds_nothing_changes(server):
    plain, _ = sample(server, graph(SEED, PROMPTS, steps=4))
    same, _ = sample(server, cached(4, block_threshold=0.0, token_threshold=0.0))
    assert np.array_equal(plain, same)


def test_the_model_that_is_trained_computes_what_comfyui_s_does(server):
    one = graph(SEED, PROMPTS, steps=1, cfg=1.0)
    latents, _ = sample(server, one)

    model = Trainee()
    model.restore(MODEL)
    places = [prompt.split() for prompt in PROMPTS]
    rows = torch.tensor([(CLASSES.index(name), FIRST_MOTION + list(MOTIONS).index(motion)) for name, motion in places])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        video = noise - model(noise, rows, torch.ones(len(PROMPTS)))

    # ComfyUI scales each channel as Wan's VAE wants it.
    for ours, theirs in zip(video.double().numpy().swapaxes(0, 1), latents.swapaxes(0, 1), strict=True):
        slope, offset = np.polyfit(ours.ravel(), theirs.ravel(), 1)
        assert np.abs(slope * ours + offset - theirs).max() <= 1e-3 * slope
