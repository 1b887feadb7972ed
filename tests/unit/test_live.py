"""What is sent to previews while it samples: which previews look, how small messages are, how the thread ends."""

from __future__ import annotations

import base64
import gc
import importlib
import json
import logging
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit import toys
from tests.unit.schemas import PACK, pack

pack()
audience = importlib.import_module(f"{PACK}.nodes.audience")
live = importlib.import_module(f"{PACK}.nodes.live")
report_module = importlib.import_module(f"{PACK}.fastcache_core.report")

SIGMAS = [1.0, 0.9, 0.7, 0.6, 0.4, 0.3, 0.1, 0.0]
RUN = {"steps": 20, "rule": "significance", "block_threshold": 0.1, "token_threshold": 0.05}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def prompt(**changes: Any) -> dict[str, Any]:
    """Two FastCache nodes with a sampler and a preview each; the second of them in a subgraph."""
    return {
        "1": node("UNETLoader", unet_name="model"),
        "2": node("FastCache", model=["1", 0]),
        "3": node("ModelSampling", model=["2", 0]),
        "4": node("KSampler", model=["3", 0], seed=[1, 2]),
        "5": node("VAEDecode", samples=["4", 0]),
        "6": node("FastCachePreview", model=["2", 0], after_sample=["5", 0], skip_map=True),
        "9:2": node("FastCache", model=["1", 0]),
        "9:4": node("KSampler", model=["9:2", 0], latent_image=["4", 0]),
        "9:6": node("FastCachePreview", model=["9:2", 0], after_sample=["9:4", 0], skip_map=True),
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "sampler", "fastcache", "looking"),
    [
        ({}, "9:4", "9:2", ["9:6"]),
        ({}, "9:4", "2", []),  # the preview behind node 2 does not wait for this sampler
        ({}, "4", "2", ["6"]),  # not the second preview, though its sampler gets this one's latents
        ({"6": node("FastCachePreview", model=["2", 0], after_sample=["5", 0])}, "4", "2", []),
        ({"6": node("FastCachePreview", model=["2", 0], after_sample=["5", 0], skip_map=False)}, "4", "2", []),
        ({"6": node("FastCachePreview", model=["2", 0], after_sample=["gone", 0], skip_map=True)}, "4", "2", []),
        # Of two in a row the nearest counts, as for the report.
        ({"7": node("FastCache", model=["2", 0]),
          "6": node("FastCachePreview", model=["7", 0], after_sample=["5", 0], skip_map=True)}, "4", "2", []),
        # What a node was expanded to has an id that begins with its own.
        ({"4": node("Loop", model=["3", 0])}, "4.0.0.12", "2", ["6"]),
    ],
)  # fmt: skip
def test_previews_look_at_the_run_that_they_show(changes: dict, sampler: str, fastcache: str, looking: list) -> None:
    assert audience.previews(prompt(**changes), sampler, fastcache) == looking


def test_nobody_looks_where_comfyui_is_not_as_expected(caplog: pytest.LogCaptureFixture) -> None:
    """Here there is no ComfyUI at all."""
    audience.warn_once.cache_clear()
    assert audience.audience_of("2") is None
    assert audience.audience_of("2") is None
    assert audience.audience_of(None) is None
    assert [record.message for record in caplog.records] == [
        "FastCache: the preview is not updated while sampling; this ComfyUI's queue is not as expected."
    ]


class Viewers:
    """Keeps what it is sent, as JSON."""

    nodes, prompt_id, workflow = ["6"], "prompt", None

    def __init__(self) -> None:
        self.messages: list[dict] = []
        self.here, self.wait = True, threading.Event()
        self.wait.set()

    def present(self) -> bool:
        return self.here

    def send(self, message: dict) -> None:
        self.wait.wait(10)
        self.messages.append(json.loads(json.dumps(message)))


def some_report(blocks: int, evaluations: int, samples: int, grid: tuple[int, int, int]) -> Any:
    """A report of token masks with one token in 50 computed, of one block that was predicted in every evaluation."""
    report = report_module.Report([f"double {i}" for i in range(blocks)], dict(RUN))
    report.know_grid(grid)
    shape = (samples, int(np.prod(grid)))
    generator = torch.Generator().manual_seed(0)
    for evaluation in range(evaluations):
        report.begin()
        report.decided("view", 0.01, 0.02, None, (0.1, 0.05), None)
        report.evaluations[-1].sigma = 1 - evaluation / evaluations
        report.mark_tokens(shape, torch.rand(shape, generator=generator) < 0.02)
        for block in range(blocks):
            fraction = 0.0 if block == 1 else 0.02
            report.explain(block, "partial: some" if fraction else "predicted: within 0.1", 0.01, 0.02)
            record = report.evaluations[-1]
            record.computed[block] += fraction * samples
            record.rows[block] += samples
    return report


def unpacked(tokens: dict) -> np.ndarray:
    shape = [tokens["samples"], *tokens["grid"]]
    return np.unpackbits(np.frombuffer(base64.b64decode(tokens["bits"]), np.uint8), count=int(np.prod(shape))).reshape(
        shape
    )


def test_a_message_says_what_the_report_says() -> None:
    report = some_report(4, 3, 2, (1, 8, 9))
    told = live.message(2, report)
    assert told["blocks"] == [["double", 4]]
    assert list(base64.b64decode(told["computed"])) == [5, 0, 5, 5]
    assert told["sigma"] == pytest.approx(1 / 3, abs=1e-4)
    assert told["threshold"] == {"block": 0.1, "token": 0.05}
    assert (told["change"], told["held"], told["reason"]) == (0.01, 0.02, "partial: some")
    assert told["tokens"]["grid"] == [1, 8, 9] and told["tokens"]["samples"] == 2
    mask = report.evaluations[2].computed_tokens((2, 72)).reshape(2, 1, 8, 9)
    assert np.array_equal(unpacked(told["tokens"]), mask)


@pytest.mark.parametrize(
    ("samples", "grid", "sent"),
    [(1, (1, 64, 64), [1, 1, 64, 64]), (1, (1, 256, 256), [1, 1, 64, 64]), (1, (33, 90, 160), [1, 16, 64, 64]),
     (3, (21, 45, 80), [3, 5, 45, 64]), (40, (1, 100, 30), [16, 1, 64, 30]), (1, (1, 1, 9000), [1, 1, 1, 64])],
)  # fmt: skip
def test_messages_of_large_images_and_videos_stay_small(samples: int, grid: tuple, sent: list) -> None:
    report = some_report(60, 1, samples, grid)
    told = live.message(0, report)
    header = {"v": 1, "nodes": ["12:7", "12:8"], "prompt_id": "p" * 36, "workflow": "w" * 36, "run": "r" * 32}
    assert len(json.dumps(told | header)) < 16 * 1024
    cells = unpacked(told["tokens"])
    assert list(cells.shape) == sent
    mask = report.evaluations[0].computed_tokens((samples, int(np.prod(grid)))).reshape(samples, *grid)
    # Of the tokens that share a cell any makes it count; no token is left out, and none counts for two cells.
    first = [np.arange(n) * size // n for n, size in zip(sent[1:], grid, strict=True)]
    last = [[*starts[1:], size] for starts, size in zip(first, grid, strict=True)]
    for cell in [(0, 0, 0), tuple(n - 1 for n in sent[1:]), tuple(n // 2 for n in sent[1:])]:
        part = tuple(slice(first[axis][i], last[axis][i]) for axis, i in enumerate(cell))
        assert cells[(0, *cell)] == mask[(0, *part)].any()


def test_names_of_blocks_are_counted_where_they_count() -> None:
    assert live.compact(["double 0", "double 1", "single 0"]) == [["double", 2], ["single", 1]]
    assert live.compact(["model"]) == ["model"]
    assert live.compact(["double 1", "double 2", "out"]) == ["double 1", "double 2", "out"]


def test_only_nothing_and_everything_look_like_it() -> None:
    assert live.levels(np.array([0, 1e-6, 0.5, 0.9999, 1])).tolist() == [0, 1, 128, 254, 255]


def sampled(viewers: Viewers, before_end: Any = lambda: None) -> tuple[Any, Any]:
    """A toy run that viewers look at, and its live preview."""
    blocks = [toys.add(1.0), toys.add(-3.0)]
    run = toys.make_run(blocks, SIGMAS, block_threshold=1.0)
    preview = live.LivePreview(viewers)
    run.observer = preview.observe
    try:
        for sigma, img in zip(SIGMAS[:-1], toys.trajectory(7), strict=True):
            toys.evaluate(run, blocks, sigma, img.clone())
        before_end()
    finally:
        preview.close()
    return run, preview


def joined(preview: Any) -> None:
    if preview.thread is not None:
        preview.thread.join(10)
        assert not preview.thread.is_alive()


def test_every_evaluation_is_told_once() -> None:
    viewers = Viewers()
    run, preview = sampled(viewers)
    joined(preview)
    assert [message["evaluation"] for message in viewers.messages] == list(range(7))
    assert len({message["run"] for message in viewers.messages}) == 1
    report = run.report.to_json()
    told = [[level / 255 for level in base64.b64decode(message["computed"])] for message in viewers.messages]
    assert told == report["computed"]
    assert {message["reason"] for message in viewers.messages} <= set(report["reason_texts"])


def test_without_viewers_there_is_no_thread() -> None:
    viewers = Viewers()
    viewers.here = False
    _, preview = sampled(viewers)
    assert preview.thread is None and viewers.messages == []


@pytest.mark.alone
def test_a_viewer_that_cannot_keep_up_misses_evaluations_and_delays_nothing() -> None:
    viewers = Viewers()
    viewers.wait.clear()
    preview = live.LivePreview(viewers)
    report = some_report(2, 50, 1, (1, 4, 4))
    begun = time.perf_counter()
    for evaluation in range(50):
        preview.observe(evaluation, report)
    preview.close()
    assert time.perf_counter() - begun < 1
    viewers.wait.set()
    joined(preview)
    told = [message["evaluation"] for message in viewers.messages]
    assert told == sorted(told) and 1 <= len(told) <= live.QUEUED + 1


def test_an_error_is_logged_once_and_ends_the_updates_of_that_run_only(caplog: pytest.LogCaptureFixture) -> None:
    viewers = Viewers()
    viewers.send = lambda message: 1 / 0
    run, preview = sampled(viewers)
    joined(preview)
    assert len(run.report.evaluations) == 7
    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert record.message == "FastCache: the preview is not updated any more in this run; the image is not affected."
    again = Viewers()
    _, preview = sampled(again)
    joined(preview)
    assert len(again.messages) == 7


@pytest.mark.parametrize("end", ["", "interrupt"])
def test_after_the_run_no_thread_and_no_tensor_is_left(end: str) -> None:
    threads = threading.active_count()

    def interrupt() -> None:
        if end:
            raise KeyboardInterrupt

    report = some_report(2, 3, 1, (1, 4, 4))
    mask = weakref.ref(report.evaluations[0].tokens_masks[0])
    preview = live.LivePreview(Viewers())
    try:
        for evaluation in range(3):
            preview.observe(evaluation, report)
        interrupt()
    except KeyboardInterrupt:
        pass
    finally:
        preview.close()
    joined(preview)
    assert threading.active_count() == threads
    del report
    gc.collect()
    assert mask() is None
