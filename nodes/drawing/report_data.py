"""Reads a report (docs/report.md) for drawing: what must be there, and arrays of what may be missing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SCHEMA = "fastcache.report/1"


def check_report(report: dict) -> None:
    """Raise `ValueError`, with a sentence, unless the parts that are drawn have the right types and shapes."""
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        found = report.get("schema") if isinstance(report, dict) else type(report).__name__
        raise ValueError(f"The report has the schema {found!r}; only {SCHEMA!r} can be drawn.")
    for key in ("blocks", "notes"):
        if not _is_list_of(report.get(key), str):
            raise ValueError(f"The report's {key!r} is not a list of texts.")
    blocks, rows = report["blocks"], report.get("computed")
    if not _is_list_of(rows, list) or any(len(row) != len(blocks) for row in rows):
        raise ValueError(f"The report's 'computed' does not have one number for each of {len(blocks)} blocks.")
    if any(not _is_list_of(row, (int, float)) or any(not 0 <= value <= 1 for value in row) for row in rows):
        raise ValueError("The report's 'computed' has a value that is not between 0 and 1.")
    seconds = report.get("seconds")
    totals = [report.get("computed_fraction"), report.get("cache_bytes_peak")]
    totals += [seconds.get("total"), seconds.get("overhead")] if isinstance(seconds, dict) else [None]
    if not _is_list_of(totals, (int, float)) or not np.isfinite(totals).all():
        raise ValueError("The report's totals (computed_fraction, cache_bytes_peak, seconds) are not all numbers.")


def numbers(values: object, count: int) -> NDArray[np.float64]:
    """`count` numbers of a list that may be missing, short or hold nulls; NaN where there is none."""
    found = np.full(count, np.nan)
    for i, value in enumerate(values[:count] if isinstance(values, list) else []):
        if isinstance(value, (int, float)) and np.isfinite(value):
            found[i] = value
    return found


def rows_of_numbers(rows: object, shape: tuple[int, int]) -> NDArray[np.float64]:
    """[evaluations, blocks] numbers of a list of such lists; NaN where there is none."""
    rows = rows if isinstance(rows, list) else []
    padded = [*rows[: shape[0]], *[None] * (shape[0] - len(rows))]
    return np.stack([numbers(row, shape[1]) for row in padded]) if padded else np.full(shape, np.nan)


def branches_of(report: dict) -> dict[str, NDArray[np.float64]]:
    """Fraction computed [evaluations, blocks] of every branch, {} where all branches were treated alike."""
    computed = np.asarray(report["computed"], dtype=np.float64)
    branches = report.get("computed_by_branch")
    if not isinstance(branches, dict) or not computed.size:
        return {}
    read = {name: rows_of_numbers(rows, computed.shape) for name, rows in branches.items()}
    return {name: np.where(np.isfinite(rows), rows, computed).clip(0, 1) for name, rows in read.items()}


def token_masks(report: dict) -> NDArray[np.uint8] | None:
    """Bits [evaluations, samples, frames, rows, columns], 1 for a computed token; None without token maps."""
    evaluations = len(report["computed"])
    tokens = report.get("tokens") or {}
    if not isinstance(tokens, dict):
        raise ValueError(f"The report's 'tokens' is a {type(tokens).__name__}, not an object.")
    masks, grid = tokens.get("computed") or [], tokens.get("grid")
    if not masks or not evaluations:
        return None
    shape = [tokens.get("samples"), *grid] if isinstance(grid, list) else []
    if not isinstance(masks, list) or len(masks) != evaluations or len(shape) != 4 or not _is_list_of(shape, int):
        raise ValueError(f"The report's token masks do not fit {evaluations} evaluations and a grid of frames x h x w.")
    if min(shape) < 0:
        raise ValueError(f"The report's token grid {shape} has a negative size.")
    if not np.prod(shape):
        return None
    return np.stack([_unpack(mask, shape) for mask in masks])


def frames_of(report: dict) -> tuple[int, int]:
    """Samples and frames of the report's token maps; (0, 0) without any."""
    masks = token_masks(report)
    return (0, 0) if masks is None else masks.shape[1:3]


def _unpack(mask: str, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Bits [samples, frames, rows, columns] of one base64 mask."""
    try:
        packed = np.frombuffer(base64.b64decode(mask, validate=True), dtype=np.uint8)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"A token mask of the report is not base64: {error}.") from error
    count = int(np.prod(shape))
    if len(packed) != -(-count // 8):
        raise ValueError(f"A token mask of the report has {len(packed)} bytes where {count} bits were due.")
    return np.unpackbits(packed, count=count).reshape(shape)


def _is_list_of(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
