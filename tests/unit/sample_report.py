"""A report as a sampling run would write it (docs/report.md), for tests of everything that reads reports.

The rule `change` decides about every block by itself, some of which have a lower threshold of their own; of computed
evaluations the token selector takes the tokens near the centre, and now and then all of them. What was decided follows
from what the report says it rested on. Same arguments, same report.
"""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Iterable

import numpy as np

BLOCK_THRESHOLD, OWN_THRESHOLD, TOKEN_THRESHOLD = 0.08, 0.045, 0.05
WARMUP, MOST_SKIPS, SALIENCY_SCALE = 3, 2, 16
WARM = f"computed: warm-up, the first {WARMUP} evaluations"
LAST = "computed: the last evaluation always is"
REFRESHED = f"computed: {MOST_SKIPS} evaluations in a row were predicted (max_consecutive_skips)"
REASONS = [
    WARM,
    LAST,
    REFRESHED,
    *(f"computed: change above {t:g}" for t in (BLOCK_THRESHOLD, OWN_THRESHOLD)),
    *(f"predicted: change within {t:g}" for t in (BLOCK_THRESHOLD, OWN_THRESHOLD)),
]


def sample_report(
    doubles: int = 4, singles: int = 12, evaluations: int = 20, grid: tuple[int, int, int] = (1, 8, 8), samples: int = 8
) -> dict:
    """Build a report of `doubles` + `singles` blocks; `grid` is frames, rows and columns of tokens."""
    draw = random.Random(20)
    names = [f"double {i}" for i in range(doubles)] + [f"single {i}" for i in range(singles)]
    work = [2.0] * doubles + [1.0] * singles
    work = [w / sum(work) for w in work]
    own = [OWN_THRESHOLD if block % 5 == 1 else None for block in range(len(names))]
    steps = [None, *(round(0.03 + 0.1 / e, 5) for e in range(1, evaluations))][:evaluations]
    forced = [_forced(e, evaluations) for e in range(evaluations)]
    active = [_active_tokens(draw, e, grid, samples) for e in range(evaluations)]
    shares = [1.0 if why else _share(tokens, samples) for why, tokens in zip(forced, active, strict=True)]
    columns = [_decide(block_threshold, steps, forced, shares) for block_threshold in own]
    computed, change, reasons = (
        [[column[e][part] for column in columns] for e in range(evaluations)] for part in range(3)
    )
    error = [[_error(draw, *seen) for seen in zip(*rows, strict=True)] for rows in zip(computed, change, strict=True)]
    masks = [
        tokens if 0 < max(row, default=0) < 1 else [math.ceil(max(row, default=0))] * len(tokens)
        for tokens, row in zip(active, computed, strict=True)
    ]
    return {
        "schema": "fastcache.report/1",
        "run": _run(own, evaluations, grid, samples),
        "blocks": names,
        "computed": computed,
        "change": change,
        "error_realised": error,
        "size": [[None if e is None else 40.0 for e in row] for row in error],
        "step": steps,
        "held": [_largest(c for c, t in zip(row, own, strict=True) if t is None) for row in change],
        "realised": [_mean(row) for row in error],
        "forced": [None if why is None else REASONS.index(why) for why in forced],
        "thresholds": {"block": [BLOCK_THRESHOLD] * evaluations, "token": [TOKEN_THRESHOLD] * evaluations},
        "work": work,
        "image_share": [1.0] * len(work),
        "evaluation_work": [1 / evaluations] * evaluations if evaluations else [],
        "tokens": {
            "grid": list(grid),
            "samples": samples,
            "computed": [pack_bits(mask) for mask in masks],
            "saliency": {
                "scale": SALIENCY_SCALE,
                "values": [_saliency(e, tokens) if e else None for e, tokens in enumerate(active)],
            },
        },
        "reasons": [[REASONS.index(why) for why in row] for row in reasons],
        "reason_texts": REASONS,
        "notes": [],
        "seconds": {"total": 3.41, "overhead": 0.02},
        "cache_bytes_peak": 12_400_000,
        "computed_fraction": float(np.mean(np.array(computed) @ work)) if computed else 1.0,
    }


def empty_report(note: str = "Both thresholds are 0, so every block was computed.") -> dict:
    """A run in which FastCache did nothing, and says why."""
    report = sample_report(0, 0, 0, (0, 0, 0), 0)
    report["notes"] = [note]
    report["seconds"] = {"total": 5.2, "overhead": 0.0}
    report["cache_bytes_peak"] = 0
    report["run"] |= {"level": None, "block_threshold": 0.0, "token_threshold": 0.0, "sampler_evaluations": 20}
    return report


def branched(report: dict) -> dict:
    """The report, had the second half of the blocks been computed for cond alone at every fourth evaluation."""
    half = len(report["blocks"]) // 2
    uncond = [
        row[:half] + [0.0] * (len(row) - half) if evaluation % 4 == 3 else row
        for evaluation, row in enumerate(report["computed"])
    ]
    both = [[(a + b) / 2 for a, b in zip(*rows, strict=True)] for rows in zip(report["computed"], uncond, strict=True)]
    return report | {"computed": both, "computed_by_branch": {"cond": report["computed"], "uncond": uncond}}


def begun(report: dict, evaluations: int) -> dict:
    """The report as it was when the run had come this far."""
    cut = (
        "computed",
        "change",
        "error_realised",
        "size",
        "step",
        "held",
        "realised",
        "forced",
        "evaluation_work",
        "reasons",
    )
    tokens = report["tokens"]
    saliency = tokens["saliency"] | {"values": tokens["saliency"]["values"][:evaluations]}
    return report | {
        **{key: report[key][:evaluations] for key in cut},
        "thresholds": {kind: row[:evaluations] for kind, row in report["thresholds"].items()},
        "tokens": tokens | {"computed": tokens["computed"][:evaluations], "saliency": saliency},
    }


def pack_bits(bits: list[int]) -> str:
    """Base64 of the bits, most significant first, padded with zeros to whole bytes."""
    return base64.b64encode(np.packbits(np.array(bits, np.uint8)).tobytes()).decode()


def _forced(evaluation: int, evaluations: int) -> str | None:
    if evaluation < WARMUP:
        return WARM
    return LAST if evaluation == evaluations - 1 else None


def _share(active: list[int], samples: int) -> float:
    """The largest part of a sample's tokens that is active."""
    return float(np.reshape(active, (samples, -1)).mean(axis=1).max()) if active else 1.0


def _decide(
    own: float | None, steps: list[float | None], forced: list[str | None], shares: list[float]
) -> list[tuple[float, float | None, str]]:
    """Of one block, at every evaluation: fraction computed, change since it was computed, and why."""
    threshold, change, skips, decided = own or BLOCK_THRESHOLD, 0.0, 0, []
    for step, why, share in zip(steps, forced, shares, strict=True):
        change += step or 0.0
        within = change <= threshold
        reason = why or (REFRESHED if within and skips >= MOST_SKIPS else None)
        predicted = within and reason is None
        reason = reason or f"{'predicted: change within' if within else 'computed: change above'} {threshold:g}"
        decided.append((0.0 if predicted else share, None if step is None else round(change, 5), reason))
        change, skips = (change, skips + 1) if predicted else (0.0, 0)
    return decided


def _error(draw: random.Random, fraction: float, change: float | None) -> float | None:
    """By how much a prediction would have been off, where that could be measured."""
    return round(change**1.5 * draw.uniform(0.6, 1.6), 5) if fraction == 1 and change else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 5) if known else None


def _active_tokens(draw: random.Random, evaluation: int, grid: tuple[int, int, int], samples: int) -> list[int]:
    """1 for every token the selector would compute: those near a centre that drifts from sample to sample."""
    frames, height, width = grid
    if evaluation % 6 == 0:
        return [1] * (samples * frames * height * width)
    active = []
    for sample in range(samples):
        x0, y0 = width * draw.uniform(0.3, 0.7), height * draw.uniform(0.3, 0.7)
        radius = min(height, width) * draw.uniform(0.2, 0.4)
        y, x = np.mgrid[0:height, 0:width]
        scattered = ((x * 7 + y * 3 + sample) % 29 == 0) | (x + y == 0)  # at least one token is active
        for frame in range(frames):
            near = np.hypot(x + 0.5 - x0 - frame * 0.5, y + 0.5 - y0) < radius
            active.extend((near | scattered).reshape(-1).astype(int).tolist())
    return active


def _saliency(evaluation: int, active: list[int]) -> str:
    """Squared changes of the tokens as bytes: those of active ones are above the threshold."""
    levels = np.random.default_rng(evaluation).normal(0, 24, len(active)).clip(-126, 126).astype(int)
    above = np.where(active, np.abs(levels), -np.abs(levels) - 1)
    return base64.b64encode((above + 128).astype(np.uint8).tobytes()).decode()


def _run(own: list[float | None], evaluations: int, grid: tuple[int, int, int], samples: int) -> dict:
    sigmas = [round(1 - i / max(evaluations, 1), 4) for i in range(evaluations)]
    return {
        "family": "hunyuan_image",
        "sampler_evaluations": evaluations,
        "steps": evaluations,
        "sigmas": sigmas,
        "branches": ["cond", "uncond"],
        "samples": samples,
        "tokens": math.prod(grid),
        "level": "block",
        "levels": ["block"],
        "rule": "change",
        "predictor": "extrapolate",
        "block_threshold": BLOCK_THRESHOLD,
        "token_threshold": TOKEN_THRESHOLD,
        "alpha": 0.5,
        "alpha_quantile": 0.0,
        "max_consecutive_skips": MOST_SKIPS,
        "sites": [[block, block] for block in range(len(own))],
        "own_thresholds": own,
        "views": 1,
        "restarts": [],
        "tokens_selected": True,
        "min_active": 0.0,
        "max_active": 1.0,
        "refresh_interval": 1000,
        "token_warmup": 0,
    }
