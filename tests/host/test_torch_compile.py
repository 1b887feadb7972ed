"""FastCache with the node TorchCompileModel, which compiles the model for the sampling run.

The backend is cudagraphs, which on a CPU is tracing alone: that is what FastCache has to do with, and it takes seconds
where inductor takes minutes.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from demo.graphs import Graph, node
from hosting.comfy_server import ComfyServer

from .graphs import Report, afresh, bypassed, quality, sample, sample_all, toy_graph


@pytest.fixture(scope="module", params=["flux", "lumina"])
def family(request) -> str:
    """One whose blocks are reached by patches, and one by their forward."""
    return request.param


def compiled(family: str, order: str, seed: int = 7) -> Graph:
    """A toy model that is compiled before or after FastCache, which skips whatever it may skip."""
    built = toy_graph(family, {"block_threshold": 10.0}, steps=9)
    built["sample"]["inputs"]["seed"] = seed
    source, user = ("toy", "fastcache") if order == "before" else ("fastcache", "sample")
    built["compile"] = node("TorchCompileModel", model=[source, 0], backend="cudagraphs")
    built[user]["inputs"]["model"] = ["compile", 0]
    return built


def eager(family: str, order: str) -> Graph:
    """The same graph, not compiled."""
    built = compiled(family, order)
    source, user = built["compile"]["inputs"]["model"], "fastcache" if order == "before" else "sample"
    built[user]["inputs"]["model"] = source
    return {name: entry for name, entry in built.items() if name != "compile"}


@pytest.fixture(scope="module")
def without_fastcache(server, family) -> np.ndarray:
    """Compiled and run before FastCache is: what was compiled then must not be taken for what FastCache needs."""
    plain, _ = sample(server, bypassed(compiled(family, "before")))
    reference, _ = sample(server, bypassed(eager(family, "before")))
    assert quality(plain, reference) > 80
    return plain


def sample_and_count(server: ComfyServer, compiling: Graph) -> tuple[np.ndarray, Report, int]:
    """Latents, report, and how many graphs torch has compiled in this process so far."""
    counting = {**afresh(compiling), "count": node("FastCacheToyCompiled", after_sample=["sample", 0])}
    (latents,), outputs = sample_all(server, counting, ["sample"])
    return latents, outputs["preview"]["fastcache_report"][0], json.loads(outputs["count"]["text"][0])


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_compiled_model_skips_the_same_and_gives_the_same_image(server, family, without_fastcache, order):
    expected, report = sample(server, eager(family, order))
    assert report["computed_fraction"] < 0.8
    got, compiled_report, graphs = sample_and_count(server, compiled(family, order))
    assert compiled_report["computed"] == report["computed"], compiled_report["notes"]
    assert quality(got, expected) > 60
    assert graphs > 0


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_next_run_compiles_nothing(server, family, without_fastcache, order):
    first, _, graphs = sample_and_count(server, compiled(family, order))
    again, report, graphs_then = sample_and_count(server, compiled(family, order))
    other, _, graphs_at_last = sample_and_count(server, compiled(family, order, seed=8))
    assert report["computed_fraction"] < 0.8
    assert graphs == graphs_then == graphs_at_last
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_bypassed_after_a_compiled_run_nothing_is_left(server, family, without_fastcache):
    _, report = sample(server, afresh(compiled(family, "before")))
    assert report["computed_fraction"] < 0.8
    after, _ = sample(server, afresh(bypassed(compiled(family, "before"))))
    assert quality(after, without_fastcache) > 80
