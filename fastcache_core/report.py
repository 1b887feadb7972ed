"""Decisions -> arrays -> JSON (docs/report.md): the one source of log line, preview and STRING output."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

SCHEMA = "fastcache.report/1"


@dataclass
class EvaluationRecord:
    """What happened in one evaluation; arrays have one entry per block."""

    sigma: float | None  # None until the evaluation's first block is reached
    computed: np.ndarray  # summed over calls, weighted by rows of the batch
    rows: np.ndarray
    change: list[float | None]
    reason: list[int | None]
    token_mask: Tensor | None = None  # boolean [samples, tokens], stays on its device until the run is over


@dataclass
class Report:
    """Grows during a run; `to_json` once it is over."""

    blocks: list[str] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    evaluations: list[EvaluationRecord] = field(default_factory=list)
    reason_texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    grid: tuple[int, int, int] = (0, 0, 0)
    branches: list[str] = field(default_factory=list)
    work_done: float = 0.0
    work_full: float = 0.0
    seconds_total: float = 0.0
    seconds_overhead: float = 0.0
    cache_bytes_peak: int = 0

    def begin(self) -> None:
        n = len(self.blocks)
        self.evaluations.append(EvaluationRecord(None, np.zeros(n), np.zeros(n), [None] * n, [None] * n))

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def explain(self, block: int, reason: str, change: float | None) -> None:
        """Store why a block of the current evaluation was computed or predicted; the first call of it counts."""
        record = self.evaluations[-1]
        if record.reason[block] is None:
            if reason not in self.reason_texts:
                self.reason_texts.append(reason)
            record.reason[block] = self.reason_texts.index(reason)
            record.change[block] = change

    def count(self, block: int, fraction: float, rows: int, done: float, full: float) -> None:
        """One call of a block: the fraction of tokens computed, rows of the batch, floating-point operations."""
        record = self.evaluations[-1]
        record.computed[block] += fraction * rows
        record.rows[block] += rows
        self.work_done += done
        self.work_full += full

    @property
    def computed_fraction(self) -> float:
        return self.work_done / self.work_full if self.work_full else 1.0

    def _computed(self) -> list[list[float]]:
        # A block that was never reached in an evaluation (another patch replaced it) counts as computed elsewhere.
        pairs = [(e.computed, e.rows) for e in self.evaluations]
        fractions = [np.divide(done, rows, out=np.ones_like(rows), where=rows > 0) for done, rows in pairs]
        return [fraction.round(4).tolist() for fraction in fractions]

    def why_nothing(self) -> str | None:
        """The sentence for a run in which no work was skipped, or None."""
        if not self.evaluations or self.work_done < self.work_full:
            return None
        changes = [c for e in self.evaluations for c in e.change if c is not None]
        if not changes:
            return "Nothing was skipped: the run ended before two evaluations could be compared."
        threshold = self.run.get("block_threshold", 0)
        return f"Nothing was skipped; smallest change seen {min(changes):.3f}, block_threshold {threshold:g}."

    def _token_bits(self) -> tuple[int, list[str]]:
        """Samples, and per evaluation the base64 of packed bits [samples, tokens] of its first call."""
        masks = [None if e.token_mask is None else e.token_mask.cpu().numpy() for e in self.evaluations]
        shape = next((m.shape for m in masks if m is not None), (0, math.prod(self.grid)))
        masks = [np.zeros(shape, bool) if m is None or m.shape != shape else m for m in masks]
        return shape[0], [base64.b64encode(np.packbits(m.reshape(-1)).tobytes()).decode() for m in masks]

    def to_json(self) -> dict[str, Any]:
        samples, bits = self._token_bits()
        run = {"family": None, "level": None, **self.run}
        run |= {
            "sampler_evaluations": len(self.evaluations),
            "sigmas": [None if e.sigma is None else round(e.sigma, 6) for e in self.evaluations],
            "branches": self.branches,
            "samples": samples,
            "tokens": math.prod(self.grid),
        }
        return {
            "schema": SCHEMA,
            "run": run,
            "blocks": self.blocks if self.evaluations else [],
            "computed": self._computed(),
            "change": [[None if c is None else round(c, 5) for c in e.change] for e in self.evaluations],
            "error_realised": [[None] * len(self.blocks) for _ in self.evaluations],
            "tokens": {"grid": list(self.grid), "samples": samples, "computed": bits},
            "reasons": [e.reason for e in self.evaluations],
            "reason_texts": self.reason_texts,
            "notes": [*self.notes, *filter(None, [self.why_nothing()])],
            "seconds": {"total": round(self.seconds_total, 4), "overhead": round(self.seconds_overhead, 4)},
            "cache_bytes_peak": self.cache_bytes_peak,
            "computed_fraction": round(self.computed_fraction, 4),
        }


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
