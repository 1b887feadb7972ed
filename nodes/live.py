"""What happened in an evaluation, sent to the previews that look while the run goes on (docs/live.md).

The sampling thread only puts a number into a queue. A thread of the run's own fetches masks from the device, encodes
and sends; when it cannot keep up, evaluations are left out. It ends with the run, and an error in it ends it earlier.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from ..fastcache_core.records import EvaluationRecord, finite, packed_bytes, part_of
from ..fastcache_core.report import Report

VERSION = 1
QUEUED = 8  # evaluations that wait to be sent, at most
# Token masks of more cells than this are pooled, so that a message stays below 16 KB.
WHOLE = 4096
SIDE, TILES = 64, 16  # rows and columns of a pooled mask, and masks (samples times frames), at most
# Devices of which another thread may read tensors while the model runs; Metal's driver may crash then.
READABLE = ("cpu", "cuda")
log = logging.getLogger(__name__)


class Viewers(Protocol):
    """Who gets the messages (audience.py)."""

    nodes: list[str]
    prompt_id: str
    workflow: str | None

    def present(self) -> bool: ...

    def send(self, message: Mapping[str, Any]) -> None: ...


class LivePreview:
    """Tells `viewers` about one run, evaluation by evaluation, until it is closed."""

    def __init__(self, viewers: Viewers):
        self.viewers = viewers
        self.begun = time.perf_counter()
        self.run = uuid.uuid4().hex
        self.waiting: queue.Queue[tuple[int, Report] | None] = queue.Queue(QUEUED)
        self.thread: threading.Thread | None = None
        self.failed = False

    def observe(self, evaluation: int, report: Report) -> None:
        """The sampling thread: this evaluation has ended. Neither waits nor fails."""
        if self.failed:
            return
        try:
            if not self.viewers.present():
                return
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, name="FastCache live preview", daemon=True)
                self.thread.start()
            with contextlib.suppress(queue.Full):
                self.waiting.put_nowait((evaluation, report))
        except Exception:
            self._give_up()

    def close(self) -> None:
        """The run is over. What waits is still sent; the thread then ends by itself."""
        if self.thread is None:
            return
        while True:
            try:
                return self.waiting.put_nowait(None)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self.waiting.get_nowait()

    def _work(self) -> None:
        try:
            while (waiting := self.waiting.get()) is not None:
                self.viewers.send(self._header() | message(*waiting))
        except Exception:
            self._give_up()

    def _header(self) -> dict[str, Any]:
        return {
            "v": VERSION,
            "nodes": self.viewers.nodes,
            "prompt_id": self.viewers.prompt_id,
            "workflow": self.viewers.workflow,
            "run": self.run,
            "seconds": round(time.perf_counter() - self.begun, 4),
        }

    def _give_up(self) -> None:
        self.failed = True
        log.exception("FastCache: the preview is not updated any more in this run; the image is not affected.")


def message(evaluation: int, report: Report) -> dict[str, Any]:
    """What happened in an evaluation (counted from 0), as JSON-ready values of a few KB."""
    record = report.evaluations[evaluation]
    computed = np.array(part_of(record.computed, record.rows))
    return {
        "evaluation": evaluation,
        "steps": report.run["steps"],
        "rule": report.run["rule"],
        "threshold": dict(zip(("block", "token"), record.thresholds or (None, None), strict=True)),
        "blocks": compact(report.blocks),
        "sigma": finite(record.sigma),
        "computed": packed_bytes(levels(computed)),
        "held": finite(record.held),
        "change": finite(record.change[0]),
        "reason": main_reason(record, report),
        "tokens": token_maps(record, report),
        "computed_fraction": round(report.computed_fraction, 4),
        "overhead": round(report.seconds_overhead, 4),
        "cache_bytes": report.cache_bytes_peak,
    }


def compact(blocks: Sequence[str]) -> list[Any]:
    """Names of blocks; "double 0", "double 1" and so on as ["double", their number]."""
    found: list[Any] = []
    for label, group in groupby(blocks, lambda name: name.rpartition(" ")[0]):
        names = list(group)
        counted = [f"{label} {i}" for i in range(len(names))]
        found += [[label, len(names)]] if names == counted else names
    return found


def levels(fractions: np.ndarray) -> np.ndarray:
    """0..1 -> bytes; only nothing is 0 and only everything is 255."""
    inner = np.clip(np.round(fractions * 255), 1, 254)
    return np.where(fractions <= 0, 0, np.where(fractions >= 1, 255, inner)).astype(np.uint8)


def main_reason(record: EvaluationRecord, report: Report) -> str | None:
    """The reason that most blocks have in common."""
    given = Counter(reason for reason in record.reason if reason is not None)
    return report.reason_texts[given.most_common(1)[0][0]] if given else None


def token_maps(record: EvaluationRecord, report: Report) -> dict[str, Any] | None:
    """Which tokens were computed, as bits [samples, frames, rows, columns]; None while nothing is known of tokens."""
    shape = report.tokens_shape
    if shape is None or shape[1] != math.prod(report.grid) or not math.prod(shape):
        return None
    if any(mask.device.type not in READABLE for mask in record.tokens_masks):
        return None
    mask = pooled(record.computed_tokens(shape).reshape(shape[0], *report.grid))
    samples, *grid = mask.shape
    return {"grid": grid, "samples": samples, "bits": packed_bytes(np.packbits(mask))}


def pooled(mask: np.ndarray) -> np.ndarray:
    """A mask of at most 64 x 64 tokens a frame, 16 frames in all; of tokens that share a cell, any counts."""
    if mask.size <= WHOLE:
        return mask
    mask = mask[:TILES]
    for axis, most in ((1, TILES // len(mask)), (2, SIDE), (3, SIDE)):
        size = mask.shape[axis]
        if size > most:
            mask = np.logical_or.reduceat(mask, np.arange(most) * size // most, axis=axis)
    return mask
