"""Thresholds of their own for ranges of blocks, as text: `0-6: 0.02, 7-18: 0.08` or `double 0-3: 0, single 5: 0.2`.

A range counts over all blocks of the model or, with a word in front, over the blocks of that name; the word alone,
as in `cross_attention: 0.3`, is all of them. Where ranges overlap, the later one counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RANGE = re.compile(r"(?P<all>[a-z_]+)|(?:(?P<kind>[a-z_]+)\s+)?(?P<first>\d{1,6})(?:\s*-\s*(?P<last>\d{1,6}))?")
HIGHEST = 10.0


@dataclass(frozen=True)
class BlockRange:
    """Blocks first..last (None: the last there is) of one kind (None: of all) and their threshold.

    text: the part it was read from.
    """

    kind: str | None
    first: int
    last: int | None
    threshold: float
    text: str


def parse_thresholds(text: str) -> tuple[BlockRange, ...]:
    """Ranges in the order of the text; ValueError with a sentence that points at the faulty part."""
    if not isinstance(text, str):
        raise ValueError(f"block_thresholds is {text!r}, but it must be text such as '0-6: 0.02, 7-18: 0.08'.")
    parts = [match for match in re.finditer(r"[^,;\n]+", text) if match[0].strip()]
    return tuple(_parse_part(match[0].strip(), _where(match, number)) for number, match in enumerate(parts, 1))


def _where(match: re.Match, number: int) -> str:
    """Which part of the text it is, for the start of a sentence."""
    return f"block_thresholds, part {number} from character {match.end() - len(match[0].lstrip()) + 1}:"


def _parse_part(part: str, where: str) -> BlockRange:
    blocks, colon, value = (piece.strip() for piece in part.partition(":"))
    if not colon:
        raise ValueError(f"{where} '{part}' has no colon before its threshold; write it as in '0-6: 0.02'.")
    match = RANGE.fullmatch(blocks)
    if match is None:
        raise ValueError(
            f"{where} '{blocks}' in '{part}' names no blocks; write numbers as in '3' or '0-6', with the kind of block "
            "before them if they count over that kind only, as in 'double 0-6', or that alone for all of them."
        )
    first, last = int(match["first"] or 0), None if match["all"] else int(match["last"] or match["first"])
    if last is not None and first > last:
        raise ValueError(f"{where} the range in '{part}' runs backwards; write '{last}-{first}'.")
    try:
        threshold = float(value)
    except ValueError:
        threshold = math.nan
    if not 0 <= threshold <= HIGHEST:  # NaN included
        raise ValueError(f"{where} the threshold in '{part}' must be a number from 0 to {HIGHEST:g}, not '{value}'.")
    return BlockRange(match["kind"] or match["all"], first, last, threshold, part)


def along_schedule(curve: Sequence[float], schedule: Sequence[float], sigma: float) -> float:
    """The value of a curve at the step whose sigma is nearest: its points are spread evenly over the schedule."""
    step = min(range(len(schedule)), key=lambda i: abs(schedule[i] - sigma))
    part = step / max(len(schedule) - 1, 1)
    return float(np.interp(part, np.linspace(0, 1, len(curve)), curve))


def thresholds_of(blocks: Sequence[str], ranges: Sequence[BlockRange]) -> tuple[dict[int, float], list[str]]:
    """Threshold by block index, for blocks with one of their own, and sentences about ranges beyond the model.

    blocks: names such as "double 3", in order.
    """
    thresholds, problems = {}, []
    for part in ranges:
        named = [i for i, name in enumerate(blocks) if part.kind is None or name.split()[0] == part.kind]
        last = max(len(named) - 1, 0) if part.last is None else part.last
        thresholds |= dict.fromkeys(named[part.first : last + 1], part.threshold)
        if last >= len(named):
            kind = f"{part.kind} " if part.kind else ""
            there = f"{kind}blocks 0 to {len(named) - 1}" if named else f"no {kind}blocks"
            problems.append(f"block_thresholds: '{part.text}' names blocks that do not exist; this model has {there}.")
    return thresholds, problems
