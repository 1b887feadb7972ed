"""On video whose background stands still, selecting tokens is worth more than predicting whole evaluations.

Prints what it measures: pytest -s.
"""

from __future__ import annotations

from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from benchmarks.workloads import patched
from demo.demo import sample
from demo.graphs import node
from demo.video import graph
from fastcache_core.metrics import psnr

from .graphs import DEFAULTS

PROMPTS = ("trousers right", "boot left", "dress up", "bag down")
SEED = 1


class Measured(NamedTuple):
    """Mean PSNR of the frames, in dB, and the part of the work that was computed."""

    quality: float
    work: float


def measured(server: Any, reference: np.ndarray, seed: int, **settings: float) -> Measured:
    """settings: changes to FastCache's default widget values."""
    queued = patched(graph(seed, PROMPTS), [node("FastCache", **(DEFAULTS | settings))])
    queued["preview"] = node("FastCachePreview", model=["patch 1", 0], after_sample=["sample", 0])
    run = sample(server, queued)
    quality = mean(psnr(a, b) for a, b in zip(run.images, reference, strict=True))
    found = Measured(quality, run.outputs["preview"]["fastcache_report"][0]["computed_fraction"])
    print(f"\nseed {seed}, {settings}: {found.quality:.1f} dB, {found.work:.1%}")
    return found


def test_selecting_tokens_computes_a_quarter_less_and_comes_closer(server):
    reference = sample(server, graph(SEED, PROMPTS)).images
    tokens = measured(server, reference, SEED, block_threshold=0.0, token_threshold=0.003)
    blocks = measured(server, reference, SEED)
    assert blocks.work < 1, "predicting blocks skipped nothing, so that there is nothing to compare with"
    assert tokens.work <= 0.75 * blocks.work
    assert tokens.quality >= blocks.quality
