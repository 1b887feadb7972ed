"""Decisions -> arrays -> JSON (docs/report.md): the one source of log line, preview and STRING output."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from .records import SALIENCY_SCALE, EvaluationRecord, as_called, finite, fractions, packed_bytes, part_of, quantised

SCHEMA = "fastcache.report/1"
MOST_SALIENCIES = 2_000_000  # of all evaluations; a report would be too large for a browser otherwise
# Reasons that hold in every run, which therefore do not explain why a run skipped nothing.
UNTELLING = ("computed: warm-up", "computed: the last evaluation", "computed: the first block is")
# Measures that are reported as error_expected; others are changes.
EXPECTED, SUM = "expected error", "sum of expected errors"


@dataclass
class Report:
    """Grows during a run; `to_json` once it is over."""

    blocks: list[str] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    evaluations: list[EvaluationRecord] = field(default_factory=list)
    reason_texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False  # a note tells of something that should not happen
    grid: tuple[int, int, int] = (0, 0, 0)
    branches: set[str] = field(default_factory=set)
    own_thresholds: dict[int, float] = field(default_factory=dict)
    tokens_shape: tuple[int, int] | None = None  # samples and image tokens of the first call
    restarts: list[int] = field(default_factory=list)  # evaluations at which blocks were cut into other sites
    work_done: float = 0.0
    work_full: float = 0.0
    seconds_total: float = 0.0
    seconds_overhead: float = 0.0
    cache_bytes_peak: int = 0

    def __post_init__(self) -> None:
        self._work, self._image_work = np.zeros(len(self.blocks)), np.zeros(len(self.blocks))
        self._saliencies = 0
        self._views: set[Hashable] = set()

    def begin(self) -> None:
        n = len(self.blocks)
        record = EvaluationRecord(None, np.zeros(n), np.zeros(n), *([None] * n for _ in range(4)), size=[None] * n)
        self.evaluations.append(record)

    def know_grid(self, grid: tuple[int, int, int]) -> None:
        """How the tokens lie, as (frames, rows, columns); of several calls the first one counts."""
        self.grid = self.grid if any(self.grid) else grid

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def explain(self, block: int, reason: str, change: float | None, expected: float | None) -> None:
        """Store why a block of the current evaluation was computed or predicted; the first call of it counts."""
        record = self.evaluations[-1]
        if record.reason[block] is None:
            record.reason[block] = self._reason(reason)
            record.change[block], record.expected[block] = change, expected

    def _reason(self, sentence: str) -> int:
        if sentence not in self.reason_texts:
            self.reason_texts.append(sentence)
        return self.reason_texts.index(sentence)

    def decided(
        self,
        view: Hashable,
        step: float | None,
        held: float | None,
        forced: str | None,
        thresholds: tuple[float, float],
        saliency: Tensor | None,
        weight: float = 1.0,
    ) -> None:
        """What a decision rested on; of one evaluation's decisions the first counts. saliency [samples, tokens];
        weight: how much an error counts at this evaluation."""
        record = self.evaluations[-1]
        self._views.add(view)
        if record.thresholds is not None:
            return
        record.view, record.step, record.held, record.thresholds = view, step, held, thresholds
        record.weight = weight
        record.forced = None if forced is None else self._reason(forced)
        if saliency is not None:
            self._saliencies += saliency.numel()
            kept = self._saliencies <= MOST_SALIENCIES
            record.saliency = quantised(saliency, thresholds[1]) if kept else None

    def measured(self, evaluation: int, view: Hashable, blocks: Iterable[int], error: float, size: float) -> None:
        """By how much predicting these blocks would have been off, relative to the size of their work."""
        record = self.evaluations[evaluation]
        if view != record.view:
            return
        for block in blocks:
            record.error[block], record.size[block] = error, size
        record.off_by += error * size
        record.sizes += size

    def count(
        self, block: int, fraction: float, rows: int, done: float, full: float, image_share: float, kinds: Sequence[str]
    ) -> None:
        """One call of a block: the fraction of tokens computed, rows of the batch, floating-point operations.

        image_share: image tokens, as a part of the block's. kinds: names of the branches in the batch.
        """
        record = self.evaluations[-1]
        record.computed[block] += fraction * rows
        record.rows[block] += rows
        for kind in kinds:
            if kind not in record.of_branch:
                record.of_branch[kind] = np.zeros_like(record.rows), np.zeros_like(record.rows)
            computed, counted = record.of_branch[kind]
            computed[block] += fraction * rows / len(kinds)
            counted[block] += rows / len(kinds)
        self.work_done += done
        self.work_full += full
        record.full += full
        self._work[block] += full
        self._image_work[block] += full * image_share

    def mark_tokens(self, shape: tuple[int, int], mask: Tensor | None) -> None:
        """A block computed the tokens of a boolean mask [samples, tokens], or all of them when it is None."""
        self.know_grid((1, 1, shape[1]))
        self.tokens_shape = self.tokens_shape or shape
        if self.tokens_shape != shape:
            return
        record = self.evaluations[-1]
        if mask is None:
            record.tokens_all = True
        elif not any(known is mask for known in record.tokens_masks):
            record.tokens_masks.append(mask)

    @property
    def computed_fraction(self) -> float:
        return self.work_done / self.work_full if self.work_full else 1.0

    def _computed(self) -> list[list[float]]:
        return [fractions(e.computed, e.rows) for e in self.evaluations]

    def _computed_by_branch(self) -> dict[str, list[list[float]]]:
        """The same for every kind of branch, where they differ; one that was not called is as the others are."""
        whole = self._computed()
        kinds = {
            kind: [as_called(e.of_branch.get(kind), row) for e, row in zip(self.evaluations, whole, strict=True)]
            for kind in sorted(self.branches)
        }
        return kinds if any(not np.allclose(rows, whole, atol=1e-3) for rows in kinds.values()) else {}

    def why_nothing(self) -> str | None:
        """The sentence for a run in which no work was skipped, or None."""
        if not self.evaluations or self.work_done < self.work_full:
            return None
        reasons = [self.reason_texts[i] for e in self.evaluations for i in e.reason if i is not None]
        # Thresholds may follow a curve: what tells apart is what was above them.
        causes = [text.removeprefix("computed: ").partition(" above ")[:2] for text in reasons if telling(text)]
        causes = causes or [(text.removeprefix("computed: "), "") for text in reasons]
        if not causes:
            return "Nothing was skipped: no block of this model was reached; the level model_output needs none."
        why, above = max(causes, key=causes.count)
        seen = self._seen(f"computed: {why} above ") if above else []
        if seen:
            threshold = self.run["block_threshold"]
            return f"Nothing was skipped; smallest {why} seen {min(seen):.3g}, block_threshold {threshold:g}."
        return f"Nothing was skipped: {why}{above.rstrip()}."

    def _seen(self, reason: str) -> list[float]:
        """The block_thresholds that would just have let pass what was held against them, where that was the reason."""
        threshold = self.run["block_threshold"]
        return [
            e.held * threshold / e.thresholds[0]
            for e in self.evaluations
            if e.held is not None and e.thresholds[0]
            and any(why is not None and self.reason_texts[why].startswith(reason) for why in e.reason)
        ]  # fmt: skip

    def _tokens(self) -> dict[str, Any]:
        """Grid, samples, and of every evaluation what was computed as bits; what changed as bytes, unless too many."""
        samples, count = self.tokens_shape or (0, math.prod(self.grid))
        grid = self.grid if math.prod(self.grid) == count else (1, 1, count)
        masks = [e.computed_tokens((samples, count)) for e in self.evaluations]
        values = [e.saliency for e in self.evaluations]
        saliency = None
        if 0 < self._saliencies <= MOST_SALIENCIES:
            fitting = [v if v is not None and v.shape == (samples, count) else None for v in values]
            packed = [None if v is None else packed_bytes(v.cpu().numpy()) for v in fitting]
            saliency = {"scale": SALIENCY_SCALE, "values": packed}
        return {
            "grid": list(grid),
            "samples": samples,
            "computed": [packed_bytes(np.packbits(mask)) for mask in masks],
            "saliency": saliency,
        }

    def to_json(self) -> dict[str, Any]:
        tokens = self._tokens()
        run = {"family": None, "level": None, "predictor": None, "steps": None, **self.run}
        run |= {
            "sampler_evaluations": len(self.evaluations),
            "sigmas": [finite(e.sigma) for e in self.evaluations],
            "branches": sorted(self.branches),
            "own_thresholds": [self.own_thresholds.get(block) for block in range(len(self.blocks))],
            "samples": tokens["samples"],
            "tokens": math.prod(self.grid),
            "tokens_selected": self._saliencies > 0,
            "views": len(self._views),
            "restarts": self.restarts,
        }
        return {
            "schema": SCHEMA,
            "run": run,
            "blocks": self.blocks if self.evaluations else [],
            "computed": self._computed(),
            "change": [[finite(c) for c in e.change] for e in self.evaluations],
            "error_expected": [[finite(c) for c in e.expected] for e in self.evaluations],
            "error_realised": [[finite(c) for c in e.error] for e in self.evaluations],
            "size": [[finite(c) for c in e.size] for e in self.evaluations],
            "step": [finite(e.step) for e in self.evaluations],
            "held": [finite(e.held) for e in self.evaluations],
            "weight": [e.weight and float(f"{e.weight:.12g}") for e in self.evaluations],
            "realised": [finite(e.off_by / e.sizes) if e.sizes else None for e in self.evaluations],
            "forced": [e.forced for e in self.evaluations],
            "thresholds": {
                name: [None if e.thresholds is None else e.thresholds[i] for e in self.evaluations]
                for i, name in enumerate(("block", "token"))
            },
            "work": [finite(part) for part in part_of(self._work, self._work.sum())],
            "evaluation_work": [finite(e.full / self.work_full) if self.work_full else 0.0 for e in self.evaluations],
            "image_share": [finite(part) for part in part_of(self._image_work, self._work)],
            "tokens": tokens,
            "computed_by_branch": self._computed_by_branch(),
            "reasons": [e.reason for e in self.evaluations],
            "reason_texts": self.reason_texts,
            "notes": [*self.notes, *filter(None, [self.why_nothing()])],
            "seconds": {"total": round(self.seconds_total, 4), "overhead": round(self.seconds_overhead, 4)},
            "cache_bytes_peak": self.cache_bytes_peak,
            "computed_fraction": round(self.computed_fraction, 4),
        }


def telling(reason: str) -> bool:
    """Whether a reason explains why a run skipped nothing; some hold in every run."""
    return not reason.startswith(UNTELLING)


def log_line(report: dict[str, Any]) -> str:
    """One sentence for the log."""
    if not report["computed"]:
        return "FastCache: " + " ".join(report["notes"])
    computed = np.array(report["computed"])
    touched = int((computed < 1).any(axis=1).sum())
    line = (
        f"FastCache: computed {report['computed_fraction']:.0%} of block work; skipped in {touched} of {len(computed)} "
        f"evaluations; {report['seconds']['total']:.2f} s (overhead {report['seconds']['overhead']:.2f} s), "
        f"cache {report['cache_bytes_peak'] / 2**20:.1f} MB."
    )
    return " ".join([line, *report["notes"]])
