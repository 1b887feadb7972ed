"""Frames that a video model is given without noise: they rest at the token selector's own threshold, and no others."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from demo.graphs import Graph, node

from .conformance import off_by
from .graphs import refined, sample, toy_graph

FRAMES, SIDE = 3, 16
WHITE = 0xFFFFFF


def with_first_frame_given(graph: Graph) -> Graph:
    """The same graph with a latent whose first frame stays as it is."""
    kept = node("EmptyImage", width=SIDE, height=SIDE, batch_size=1, color=0)
    new = node("EmptyImage", width=SIDE, height=SIDE, batch_size=FRAMES - 1, color=WHITE)
    sampler = graph["sample"]
    return graph | {
        "kept": kept,
        "new": new,
        "frames": node("ImageBatch", image1=["kept", 0], image2=["new", 0]),
        "mask": node("ImageToMask", image=["frames", 0], channel="red"),
        "given": node("SetLatentNoiseMask", samples=sampler["inputs"]["latent_image"], mask=["mask", 0]),
        "sample": {**sampler, "inputs": sampler["inputs"] | {"latent_image": ["given", 0]}},
    }


def computed_tokens(report: dict) -> np.ndarray:
    """Which tokens were computed, [evaluations, samples, frames, tokens of a frame]."""
    tokens = report["tokens"]
    shape = tokens["samples"], tokens["grid"][0], tokens["grid"][1] * tokens["grid"][2]
    bits = [np.unpackbits(np.frombuffer(base64.b64decode(row), np.uint8)) for row in tokens["computed"]]
    return np.array([row[: np.prod(shape)].reshape(shape) for row in bits])


@pytest.mark.parametrize("family", ["wan22_ti2v", "ltxv"])
def test_a_given_frame_rests_and_the_others_never_do(server, family):
    plain, _ = sample(server, with_first_frame_given(toy_graph(family)))
    graph = refined(toy_graph(family, {"block_threshold": 0.0}), None, {})
    resting, report = sample(server, with_first_frame_given(graph))
    computed = computed_tokens(report)
    first, others = computed[:, :, :1], computed[:, :, 1:]
    assert others.all()
    rests = ~first.any(axis=(1, 2, 3))
    assert rests.sum() >= len(rests) // 2, report["notes"]
    assert first[~rests].all()
    assert report["computed_fraction"] == pytest.approx(1 - rests.mean() / FRAMES, abs=0.02)
    assert 0 < off_by(resting, plain) < 0.02
