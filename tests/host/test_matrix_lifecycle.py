"""Runs one after the other on one patched model: sizes and types change, runs break off, nothing piles up."""

from __future__ import annotations

import json

import numpy as np
import pytest

from demo.graphs import Graph, node
from hosting.comfy_server import ComfyServer
from hosting.process import ComfyError

from .graphs import PROMPTS, afresh, bypassed, forget, graph, quality, sample, sample_all


def sized(first: Graph, width: int, height: int, images: int) -> Graph:
    """The graph on a canvas of another size, behind the same MODEL, which ComfyUI keeps from run to run."""
    prompts = "\n".join(PROMPTS[:images])
    return first | {
        "canvas": node("EmptyImage", width=width, height=height, batch_size=images, color=0),
        "positive": node("FastCacheDemoPrompt", prompts=prompts),
    }


@pytest.mark.parametrize("settings", [{}, {"block_threshold": 0.0, "token_threshold": 0.1}])
def test_sizes_and_batches_change_between_runs_on_one_model(server, settings):
    model = graph(fastcache=settings, steps=14)
    first, report = sample(server, sized(model, 32, 32, 2))
    assert report["computed_fraction"] < 0.95
    for width, height, images in ((48, 32, 2), (48, 32, 1), (32, 48, 3), (16, 16, 1)):
        changed, report = sample(server, sized(model, width, height, images))
        assert changed.shape == (images, 3, height, width)
        assert report["run"]["tokens"] == width * height // 16
        assert report["computed_fraction"] < 1
    again, _ = sample(server, afresh(sized(model, 32, 32, 2)))
    assert np.array_equal(again, first)


def typed(first: Graph, dtype: str) -> Graph:
    """The graph with the model computing in another type, set behind FastCache."""
    changed = first | {"type": node("ModelComputeDtype", model=["fastcache", 0], dtype=dtype)}
    return changed | {"sample": node("KSampler", **(first["sample"]["inputs"] | {"model": ["type", 0]}))}


def test_the_type_of_numbers_changes_between_runs_on_one_model(server):
    model = graph(fastcache={}, steps=10, prompts=("red trousers",))
    first, _ = sample(server, model)
    rough, report = sample(server, typed(model, "bf16"))
    reference, _ = sample(server, bypassed(typed(model, "bf16")))
    assert report["computed_fraction"] < 1
    assert quality(rough, reference) > 25 and not np.array_equal(rough, first)
    again, _ = sample(server, afresh(model))
    assert np.array_equal(again, first)


def failing(failure: str, call: int, settings: dict | None) -> Graph:
    """A graph whose third double block fails once, at one of its calls."""
    breaking = graph(seed=31, fastcache=settings)
    breaking["breaking"] = node(
        "FastCacheToyFailOnce", model=["shift", 0], blocks="double_block", index=2, failure=failure, call=call
    )
    user = "sample" if settings is None else "fastcache"
    breaking[user]["inputs"]["model"] = ["breaking", 0]
    return breaking


def assert_undisturbed(server: ComfyServer, interrupted: Graph, reference: np.ndarray, cached: np.ndarray) -> None:
    """After a run that broke off: its patched model samples as if nothing had been, and so does the bare model."""
    again, report = sample(server, afresh(interrupted))
    assert report["computed_fraction"] < 1
    assert np.array_equal(again, cached)
    bare, _ = sample(server, afresh(bypassed(graph(seed=31, fastcache={}))))
    assert np.array_equal(bare, reference)


@pytest.fixture(scope="module")
def undisturbed(server) -> tuple[np.ndarray, np.ndarray]:
    """Without and with FastCache, never interrupted."""
    return sample(server, graph(seed=31))[0], sample(server, graph(seed=31, fastcache={}))[0]


@pytest.mark.parametrize(("failure", "message"), [("interrupt", "interrupted"), ("error", "toy failure at call")])
@pytest.mark.parametrize("call", [1, 5, 9])
def test_a_run_that_breaks_off_inside_a_block_leaves_nothing_behind(server, undisturbed, failure, message, call):
    breaking = failing(failure, call, {})
    with pytest.raises(ComfyError, match=message):
        sample(server, breaking)
    assert_undisturbed(server, breaking, *undisturbed)


def interrupt_when_sampling(server: ComfyServer, long_run: Graph, steps: int) -> None:
    """Queue a graph and interrupt it once its sampler has made some steps."""
    prompt_id = server.queue(long_run)
    assert server.events.wait_for(
        lambda event: (
            event["type"] == "progress"
            and event["data"]["prompt_id"] == prompt_id
            and event["data"]["node"] == "sample"
            and event["data"]["value"] >= steps
        ),
        60,
    )
    server.post("/interrupt")
    with pytest.raises(ComfyError, match="interrupted"):
        server.wait(prompt_id, 60)


def test_an_interrupt_by_the_user_leaves_nothing_behind(server, undisturbed):
    long_run = graph(seed=31, fastcache={}, steps=2000)
    interrupt_when_sampling(server, long_run, 12)
    assert_undisturbed(server, graph(seed=31, fastcache={}), *undisturbed)


def living_tensors(server: ComfyServer, run: int) -> tuple[int, int]:
    """Count and bytes of the tensors in ComfyUI's process, always after the same graph, which ComfyUI caches."""
    last = graph(seed=run, fastcache={}, steps=8)
    last["tensors"] = node("FastCacheToyTensors", after_sample=["sample", 0], run=run)
    _, outputs = sample_all(server, last, ["sample"])
    return tuple(json.loads(outputs["tensors"]["text"][0]))


SETTINGS = [
    {},
    {"cache_device": "offload"},
    {"token_threshold": 0.01},
    {"block_threshold": 0.0, "token_threshold": 0.02},
    {"block_threshold": 0.3, "max_consecutive_skips": 1},
]


def test_ten_runs_leave_no_tensors_behind(server):
    forget(server)  # what other tests' graphs put out
    living_tensors(server, 100)
    before = living_tensors(server, 101)
    for i in range(10):
        _, report = sample(server, graph(seed=200 + i, fastcache=SETTINGS[i % len(SETTINGS)], steps=10))
        assert report["cache_bytes_peak"] > 0
    living_tensors(server, 102)  # ComfyUI may still hold what the last prompt's nodes put out
    after = living_tensors(server, 103)
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)  # it may drop its own
