"""A report as a sampling run would write it (docs/report.md), for tests of everything that reads reports.

Every second and third evaluation predicts most blocks and lets the token selector refresh the tokens near the centre,
the others compute everything; the first three and the last are always computed. Same arguments, same report.
"""

from __future__ import annotations

import base64
import math
import random

import numpy as np

BLOCK_THRESHOLD, TOKEN_THRESHOLD = 0.08, 0.05
SALIENCY_SCALE = 16
REASONS = [
    "computed: warm-up, the first 3 evaluations",
    "computed: the last evaluation always is",
    f"computed: change above {BLOCK_THRESHOLD:g}",
    f"predicted: change within {BLOCK_THRESHOLD:g}",
    "computed: 2 evaluations in a row were predicted (max_consecutive_skips)",
]
WARMUP, LAST, ABOVE, BELOW, REFRESHED = range(len(REASONS))


def sample_report(
    doubles: int = 4, singles: int = 12, evaluations: int = 20, grid: tuple[int, int, int] = (1, 8, 8), samples: int = 8
) -> dict:
    """Build a report of `doubles` + `singles` blocks; `grid` is frames, rows and columns of tokens."""
    draw = random.Random(20)
    noise = np.random.default_rng(20)
    names = [f"double {i}" for i in range(doubles)] + [f"single {i}" for i in range(singles)]
    work = [2.0] * doubles + [1.0] * singles
    computed, change, error, reasons, bits, saliency = [], [], [], [], [], []
    for evaluation in range(evaluations):
        active = _active_tokens(draw, evaluation, evaluations, grid, samples)
        share = sum(active) / max(len(active), 1)
        rows = [_decide(draw, evaluation, evaluations, block, share) for block in range(len(names))]
        computed.append([row[0] for row in rows])
        change.append([row[1] for row in rows])
        error.append([row[2] for row in rows])
        reasons.append([row[3] for row in rows])
        bits.append(pack_bits([1] * len(active) if max(computed[-1], default=0) == 1 else active))
        saliency.append(_saliency(noise, active, _is_selected(evaluation, evaluations)) if evaluation else None)
    spent = sum(f * w for row in computed for f, w in zip(row, work, strict=True))
    total = evaluations * sum(work)
    return {
        "schema": "fastcache.report/1",
        "run": _run(len(names), evaluations, grid, samples),
        "blocks": names,
        "computed": computed,
        "change": change,
        "error_realised": error,
        "size": [[None if e is None else 40.0 for e in row] for row in error],
        "step": [None, *(round(0.02 + 0.08 / evaluation, 5) for evaluation in range(1, evaluations))][:evaluations],
        "forced": [_forced(evaluation, evaluations) for evaluation in range(evaluations)],
        "thresholds": {"block": [BLOCK_THRESHOLD] * evaluations, "token": [TOKEN_THRESHOLD] * evaluations},
        "work": [w / sum(work) for w in work],
        "image_share": [0.9] * len(work),
        "tokens": {
            "grid": list(grid),
            "samples": samples,
            "computed": bits,
            "saliency": {"threshold": TOKEN_THRESHOLD, "scale": SALIENCY_SCALE, "values": saliency},
        },
        "reasons": reasons,
        "reason_texts": REASONS,
        "notes": [],
        "seconds": {"total": 3.41, "overhead": 0.02},
        "cache_bytes_peak": 12_400_000,
        "computed_fraction": spent / total if total else 1.0,
    }


def empty_report(note: str = "Both thresholds are 0, so every block was computed.") -> dict:
    """A run in which FastCache did nothing, and says why."""
    report = sample_report(0, 0, 0, (0, 0, 0), 0)
    report["notes"] = [note]
    report["seconds"] = {"total": 5.2, "overhead": 0.0}
    report["cache_bytes_peak"] = 0
    report["run"] |= {"level": None, "block_threshold": 0.0, "token_threshold": 0.0, "sampler_evaluations": 20}
    return report


def pack_bits(bits: list[int]) -> str:
    """Base64 of the bits, most significant first, padded with zeros to whole bytes."""
    padded = bits + [0] * (-len(bits) % 8)
    octets = (padded[i : i + 8] for i in range(0, len(padded), 8))
    return base64.b64encode(bytes(int("".join(map(str, octet)), 2) for octet in octets)).decode()


def branched(report: dict) -> dict:
    """The report, had the second half of the blocks been computed for cond alone at every fourth evaluation."""
    half = len(report["blocks"]) // 2
    uncond = [
        row[:half] + [0.0] * (len(row) - half) if evaluation % 4 == 3 else row
        for evaluation, row in enumerate(report["computed"])
    ]
    halves = [
        [(a + b) / 2 for a, b in zip(*rows, strict=True)] for rows in zip(report["computed"], uncond, strict=True)
    ]
    return report | {"computed": halves, "computed_by_branch": {"cond": report["computed"], "uncond": uncond}}


def _is_full(evaluation: int, evaluations: int) -> bool:
    return evaluation < 3 or evaluation % 3 == 0 or evaluation == evaluations - 1


def _is_selected(evaluation: int, evaluations: int) -> bool:
    return not _is_full(evaluation, evaluations) and evaluation % 3 == 2


def _forced(evaluation: int, evaluations: int) -> int | None:
    if evaluation < 3:
        return WARMUP
    return LAST if evaluation == evaluations - 1 else None


def _decide(
    draw: random.Random, evaluation: int, evaluations: int, block: int, share: float
) -> tuple[float, float | None, float | None, int]:
    """Fraction computed, change, realised error and reason of one block at one evaluation."""
    if evaluation == 0:
        return 1.0, None, None, WARMUP
    rests = block % 4 == 2
    if _is_full(evaluation, evaluations):
        forced = _forced(evaluation, evaluations)
        above, fraction, reason = not rests, 1.0, forced if forced is not None else REFRESHED if rests else ABOVE
    elif evaluation % 3 == 2 and not rests and share > 0:
        above, fraction, reason = True, share, ABOVE
    elif evaluation % 6 == 4 and block % 5 == 1:
        above, fraction, reason = True, 1.0, ABOVE
    else:
        above, fraction, reason = False, 0.0, BELOW
    moved = round(BLOCK_THRESHOLD * (draw.uniform(1.1, 2 + 3 / evaluation) if above else draw.uniform(0.4, 0.9)), 5)
    return fraction, moved, round(moved * draw.uniform(0.1, 0.4), 5) if fraction == 1 else None, reason


def _saliency(noise: np.random.Generator, active: list[int], selected: bool) -> str:
    """Squared changes of the tokens as bytes; of selected ones those above the threshold are the active ones."""
    levels = np.clip(noise.normal(-20, 24, len(active)), -127, 127).astype(int)
    if selected:
        levels = np.where(active, np.abs(levels), -np.abs(levels) - 1)
    return base64.b64encode((levels + 128).astype(np.uint8).tobytes()).decode()


def _active_tokens(
    draw: random.Random, evaluation: int, evaluations: int, grid: tuple[int, int, int], samples: int
) -> list[int]:
    """1 for every token the selector would compute: those near a centre that drifts from sample to sample."""
    frames, height, width = grid
    if _is_full(evaluation, evaluations):
        return [1] * (samples * frames * height * width)
    if not _is_selected(evaluation, evaluations):
        return [0] * (samples * frames * height * width)
    active = []
    for sample in range(samples):
        x0, y0 = width * draw.uniform(0.3, 0.7), height * draw.uniform(0.3, 0.7)
        radius = min(height, width) * draw.uniform(0.2, 0.4)
        for frame in range(frames):
            for y in range(height):
                for x in range(width):
                    distance = math.hypot(x + 0.5 - x0 - frame * 0.5, y + 0.5 - y0)
                    active.append(int(distance < radius or (x * 7 + y * 3 + sample) % 29 == 0))
    return active


def _run(blocks: int, evaluations: int, grid: tuple[int, int, int], samples: int) -> dict:
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
        "rule": "change",
        "predictor": "extrapolate",
        "block_threshold": BLOCK_THRESHOLD,
        "token_threshold": TOKEN_THRESHOLD,
        "alpha": 0.5,
        "alpha_quantile": 0.0,
        "max_consecutive_skips": 2,
        "sites": [[block, block] for block in range(blocks)],
        "own_thresholds": [None] * blocks,
        "min_active": 0.0,
        "max_active": 1.0,
        "refresh_interval": 6,
    }
