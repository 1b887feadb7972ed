"""A report as a sampling run would write it (docs/report.md), for tests of everything that reads reports.

Every second and third evaluation predicts most blocks and lets the token selector refresh the tokens near the centre,
the others compute everything; the first three and the last are always computed. Same arguments, same report.
"""

from __future__ import annotations

import base64
import math
import random

REASONS = [
    "Warm-up: the first evaluations are always computed.",
    "The last evaluation is always computed.",
    "The change 0.12 is above the threshold 0.08.",
    "The change is below the threshold 0.08.",
    "The token selector computed the tokens that changed.",
    "The block was predicted twice in a row, the most that is allowed.",
]
WARMUP, LAST, ABOVE, BELOW, SELECTED, REFRESHED = range(len(REASONS))


def sample_report(
    doubles: int = 4, singles: int = 12, evaluations: int = 20, grid: tuple[int, int, int] = (1, 8, 8), samples: int = 8
) -> dict:
    """Build a report of `doubles` + `singles` blocks; `grid` is frames, rows and columns of tokens."""
    draw = random.Random(20)
    names = [f"double {i}" for i in range(doubles)] + [f"single {i}" for i in range(singles)]
    work = [2.0] * doubles + [1.0] * singles
    computed, change, error, reasons, bits = [], [], [], [], []
    for evaluation in range(evaluations):
        active = _active_tokens(draw, evaluation, evaluations, grid, samples)
        share = sum(active) / max(len(active), 1)
        rows = [_decide(draw, evaluation, evaluations, block, share) for block in range(len(names))]
        computed.append([row[0] for row in rows])
        change.append([row[1] for row in rows])
        error.append([row[2] for row in rows])
        reasons.append([row[3] for row in rows])
        bits.append(pack_bits([1] * len(active) if max(computed[-1], default=0) == 1 else active))
    spent = sum(f * w for row in computed for f, w in zip(row, work, strict=True))
    total = evaluations * sum(work)
    return {
        "schema": "fastcache.report/1",
        "run": _run(evaluations, grid, samples),
        "blocks": names,
        "computed": computed,
        "change": change,
        "error_realised": error,
        "tokens": {"grid": list(grid), "samples": samples, "computed": bits},
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


def _is_full(evaluation: int, evaluations: int) -> bool:
    return evaluation < 3 or evaluation % 3 == 0 or evaluation == evaluations - 1


def _decide(
    draw: random.Random, evaluation: int, evaluations: int, block: int, share: float
) -> tuple[float, float | None, float | None, int]:
    """Fraction computed, change, realised error and reason of one block at one evaluation."""
    if evaluation == 0:
        return 1.0, None, None, WARMUP
    moved = round((0.02 + 0.08 / evaluation) * (1 + 0.05 * block) * draw.uniform(0.7, 1.4), 5)
    error = round(moved * draw.uniform(0.1, 0.4), 5)
    if _is_full(evaluation, evaluations):
        if evaluation < 3:
            return 1.0, moved, error, WARMUP
        return 1.0, moved, error, LAST if evaluation == evaluations - 1 else REFRESHED
    if evaluation % 6 == 4 and block % 5 == 1:
        return 1.0, round(moved + 0.08, 5), error, ABOVE
    if evaluation % 3 == 2 and block % 4 != 2 and share > 0:
        return share, moved, error, SELECTED
    return 0.0, moved, None, BELOW


def _active_tokens(
    draw: random.Random, evaluation: int, evaluations: int, grid: tuple[int, int, int], samples: int
) -> list[int]:
    """1 for every token the selector would compute: those near a centre that drifts from sample to sample."""
    frames, height, width = grid
    if _is_full(evaluation, evaluations):
        return [1] * (samples * frames * height * width)
    if evaluation % 3 != 2:
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


def _run(evaluations: int, grid: tuple[int, int, int], samples: int) -> dict:
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
        "block_threshold": 0.08,
        "token_threshold": 0.05,
    }
