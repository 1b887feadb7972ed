"""Decisions -> arrays -> JSON (docs/report.md): the one source of log line, preview and STRING output."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

SCHEMA = "fastcache.report/1"
# Saliencies are reported as bytes: 128 and above are above the threshold, each more is by a factor of e^(1/scale).
SALIENCY_SCALE = 16
MOST_SALIENCIES = 2_000_000  # of all evaluations; a report would be too large for a browser otherwise
# Reasons that hold in every run, which therefore do not explain why a run skipped nothing.
UNTELLING = ("computed: warm-up", "computed: the last evaluation", "computed: the first block is")
# Measures that are reported as error_expected; others are changes.
EXPECTED, SUM = "expected error", "sum of expected errors"


@dataclass
class EvaluationRecord:
    """What happened in one evaluation; arrays have one entry per block."""

    sigma: float | None  # None until the evaluation's first block is reached
    computed: np.ndarray  # summed over calls, weighted by rows of the batch
    rows: np.ndarray
    change: list[float | None]
    expected: list[float | None]
    error: list[float | None]
    reason: list[int | None]
    # Tokens that blocks computed, for inputs of the first shape seen, [samples, tokens]: all, or those of these masks,
    # which stay on their device until the run is over.
    tokens_shape: tuple[int, int] | None = None
    tokens_all: bool = False
    tokens_masks: list[Tensor] = field(default_factory=list)
    # What decisions rested on, for the view that was decided about first (docs/report.md).
    step: float | None = None
    held: float | None = None
    off_by: float = 0.0  # measured errors, each times the size of its site's work; and those sizes
    sizes: float = 0.0
    forced: int | None = None
    size: list[float | None] = field(default_factory=list)
    thresholds: tuple[float, float] | None = None
    saliency: Tensor | None = None
    # As `computed` and `rows`, of the calls of each kind of branch.
    of_branch: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def computed_tokens(self, shape: tuple[int, int]) -> np.ndarray:
        """Boolean [samples, tokens]: computed by at least one block."""
        if self.tokens_shape != shape:
            return np.zeros(shape, bool)
        computed = np.full(shape, self.tokens_all)
        for mask in self.tokens_masks:
            # Of several views in one batch, each with a mask of its own, a token counts as computed if it was in one.
            computed |= mask.cpu().numpy().reshape(-1, *shape).any(axis=0)
        return computed


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
    saliency_threshold: float = 0.0  # around which saliencies are told apart
    work_done: float = 0.0
    work_full: float = 0.0
    seconds_total: float = 0.0
    seconds_overhead: float = 0.0
    cache_bytes_peak: int = 0

    def __post_init__(self) -> None:
        self._work, self._image_work = np.zeros(len(self.blocks)), np.zeros(len(self.blocks))
        self._saliencies = 0

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
        step: float | None,
        held: float | None,
        forced: str | None,
        thresholds: tuple[float, float],
        saliency: Tensor | None,
    ) -> None:
        """What a decision rested on; of one evaluation's decisions the first counts. saliency [samples, tokens]."""
        record = self.evaluations[-1]
        if record.thresholds is not None:
            return
        record.step, record.held, record.thresholds = step, held, thresholds
        record.forced = None if forced is None else self._reason(forced)
        if saliency is not None:
            self._saliencies += saliency.numel()
            kept = self._saliencies <= MOST_SALIENCIES
            record.saliency = quantised(saliency, self.saliency_threshold) if kept else None

    def measured(self, evaluation: int, blocks: Iterable[int], error: float, size: float) -> None:
        """By how much predicting these blocks would have been off, relative to the size of their work."""
        record = self.evaluations[evaluation]
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
        self._work[block] += full
        self._image_work[block] += full * image_share

    def mark_tokens(self, shape: tuple[int, int], mask: Tensor | None) -> None:
        """A block computed the tokens of a boolean mask [samples, tokens], or all of them when it is None."""
        self.know_grid((1, 1, shape[1]))
        record = self.evaluations[-1]
        record.tokens_shape = record.tokens_shape or shape
        if record.tokens_shape != shape:
            return
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
        """The same for every kind of branch, where they differ."""
        whole, none = self._computed(), (np.zeros(len(self.blocks)),) * 2
        kinds = {
            kind: [fractions(*e.of_branch.get(kind, none)) for e in self.evaluations]
            for kind in sorted(self.branches)
        }  # fmt: skip
        return kinds if any(computed != whole for computed in kinds.values()) else {}

    def why_nothing(self) -> str | None:
        """The sentence for a run in which no work was skipped, or None."""
        if not self.evaluations or self.work_done < self.work_full:
            return None
        reasons = [self.reason_texts[i] for e in self.evaluations for i in e.reason if i is not None]
        telling = [text for text in reasons if not text.startswith(UNTELLING)] or reasons
        if not telling:
            return "Nothing was skipped: no block of this model was reached."
        why = max(telling, key=telling.count)
        measure, above, threshold = why.removeprefix("computed: ").partition(" above ")
        seen = self._seen(measure, self.reason_texts.index(why)) if above else []
        if seen:
            return f"Nothing was skipped; smallest {measure} seen {min(seen):.3g}, block_threshold {threshold}."
        why = why.removeprefix("computed: ")
        return f"Nothing was skipped: {why}."

    def _seen(self, measure: str, reason: int) -> list[float]:
        """What was held against the threshold where blocks were computed for this reason."""
        seen = []
        for e in self.evaluations:
            rows = zip(e.reason, e.expected if measure in (EXPECTED, SUM) else e.change, strict=True)
            values = [value for why, value in rows if why == reason and value is not None]
            # Shares of the work are not told apart here: a mean stands for the weighted sum.
            seen += [sum(values) / len(values)] if measure == SUM and values else values
        return seen

    def _token_bits(self) -> tuple[int, list[str]]:
        """Samples, and per evaluation the base64 of packed bits [samples, tokens]."""
        shapes = [e.tokens_shape for e in self.evaluations if e.tokens_shape]
        shape = shapes[0] if shapes else (0, math.prod(self.grid))
        packed = [np.packbits(e.computed_tokens(shape).reshape(-1)) for e in self.evaluations]
        return shape[0], [base64.b64encode(bits.tobytes()).decode() for bits in packed]

    def _saliency(self) -> dict[str, Any] | None:
        """Bytes of every evaluation that has some; None where there are none, or there were too many to keep."""
        values = [e.saliency for e in self.evaluations]
        if self._saliencies > MOST_SALIENCIES or all(value is None for value in values):
            return None
        packed = [None if v is None else base64.b64encode(v.cpu().numpy().tobytes()).decode() for v in values]
        return {"threshold": self.saliency_threshold, "scale": SALIENCY_SCALE, "values": packed}

    def to_json(self) -> dict[str, Any]:
        samples, bits = self._token_bits()
        run = {"family": None, "level": None, "predictor": None, "steps": None, **self.run}
        run |= {
            "sampler_evaluations": len(self.evaluations),
            "sigmas": [finite(e.sigma) for e in self.evaluations],
            "branches": sorted(self.branches),
            "own_thresholds": [self.own_thresholds.get(block) for block in range(len(self.blocks))],
            "samples": samples,
            "tokens": math.prod(self.grid),
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
            "realised": [finite(e.off_by / e.sizes) if e.sizes else None for e in self.evaluations],
            "forced": [e.forced for e in self.evaluations],
            "thresholds": {
                name: [None if e.thresholds is None else e.thresholds[i] for e in self.evaluations]
                for i, name in enumerate(("block", "token"))
            },
            "work": [finite(part) for part in part_of(self._work, self._work.sum())],
            "image_share": [finite(part) for part in part_of(self._image_work, self._work)],
            "tokens": {"grid": list(self.grid), "samples": samples, "computed": bits, "saliency": self._saliency()},
            "computed_by_branch": self._computed_by_branch(),
            "reasons": [e.reason for e in self.evaluations],
            "reason_texts": self.reason_texts,
            "notes": [*self.notes, *filter(None, [self.why_nothing()])],
            "seconds": {"total": round(self.seconds_total, 4), "overhead": round(self.seconds_overhead, 4)},
            "cache_bytes_peak": self.cache_bytes_peak,
            "computed_fraction": round(self.computed_fraction, 4),
        }


def fractions(computed: np.ndarray, rows: np.ndarray) -> list[float]:
    """Computed tokens over all. A block that was never reached (another patch replaced it) was computed elsewhere."""
    return [round(part, 4) for part in part_of(computed, rows)]


def part_of(work: np.ndarray, whole: np.ndarray) -> list[float]:
    """Of nothing, everything."""
    return np.divide(work, whole, out=np.ones_like(work), where=np.broadcast_to(whole > 0, work.shape)).tolist()


def finite(number: float | None) -> float | None:
    """A number of six significant digits, or None for what JSON cannot carry."""
    return float(f"{number:.6g}") if number is not None and math.isfinite(number) else None


def quantised(saliency: Tensor, threshold: float) -> Tensor:
    """Saliencies [samples, tokens] as bytes around the threshold: 128 is just above it."""
    levels = (SALIENCY_SCALE * torch.log(saliency / threshold)).floor().clamp(-128, 127)
    above = saliency > threshold
    return (torch.where(above, levels.clamp(min=0), levels.clamp(max=-1)) + 128).to(torch.uint8)


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
