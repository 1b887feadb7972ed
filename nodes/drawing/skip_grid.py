"""Draws the block x evaluation grid of a report, with the ranges of blocks and the axis of evaluations."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from .canvas import CHARACTER, LINE, MARGIN, Picture, draw_cell, draw_split_cell

GROUP_GAP = 5


class Grid:
    """Blocks from top to bottom, evaluations from left to right; `gutter` is the x of the first evaluation."""

    def __init__(
        self,
        blocks: Sequence[str],
        computed: NDArray[np.float64],
        branches: dict[str, NDArray[np.float64]],
    ):
        self.computed = computed
        self.names, self.branches = list(branches), np.array(list(branches.values()))
        self.groups = group_blocks(blocks)
        self.evaluations, count = computed.shape
        self.cell = (max(4, min(28, 800 // self.evaluations)), max(4, min(18, 560 // count)))
        longest = max([len(label) for label, _, _ in self.groups] + [len("evaluation")])
        self.gutter = MARGIN + CHARACTER * min(longest, 40) + 14
        self.width = self.gutter - MARGIN + self.evaluations * self.cell[0]
        self.height = count * self.cell[1] + (len(self.groups) - 1) * GROUP_GAP

    @property
    def is_split(self) -> bool:
        """Whether some cell differs from branch to branch."""
        return len(self.branches) > 1 and bool((self.branches != self.branches[0]).any())

    def x(self, evaluation: float) -> float:
        """Left edge of an evaluation's column; with 0.5 added its middle."""
        return self.gutter + evaluation * self.cell[0]

    def draw(self, picture: Picture) -> None:
        """Draw cells and the ranges of blocks, and move on below them."""
        draw = picture.reserve(self.height)
        height = self.cell[1]
        for number, (label, first, count) in enumerate(self.groups):
            top = picture.y + first * height + number * GROUP_GAP
            draw.line([(self.gutter - 7, top), (self.gutter - 7, top + count * height - 2)], fill=LINE)
            if count * height >= 10:
                picture.text(self.gutter - 13, top + count * height / 2, label[:40], anchor="rm")
            for evaluation in range(self.evaluations):
                for i in range(count):
                    self._draw_cell(draw, evaluation, first + i, top + i * height)
        picture.y += self.height

    def _draw_cell(self, draw: ImageDraw.ImageDraw, evaluation: int, block: int, y: int) -> None:
        x = self.gutter + evaluation * self.cell[0]
        fractions = self.branches[:, evaluation, block] if len(self.branches) else np.empty(0)
        if len(fractions) and (fractions != fractions[0]).any():
            draw_split_cell(draw, x, y, *self.cell, fractions.tolist())
        else:
            draw_cell(draw, x, y, *self.cell, self.computed[evaluation, block])

    def draw_axis(self, picture: Picture) -> None:
        """Number the evaluations, as many as have room, and move on below them."""
        picture.reserve(24)
        picture.y += 12
        picture.text(self.gutter - 13, picture.y, "evaluation", anchor="rm")
        room = 6 + CHARACTER * len(str(self.evaluations))
        step = next((n for n in (1, 5, 10, 20, 50, 100, 200, 500) if n * self.cell[0] >= room), 1000)
        for number in range(1, self.evaluations + 1):
            if number == 1 or number % step == 0:
                picture.text(self.x(number - 0.5), picture.y, str(number), anchor="mm")
        picture.y += 12


def group_blocks(blocks: Sequence[str]) -> list[tuple[str, int, int]]:
    """Label, first block and count of every run of blocks of one kind: "double 0" to "double 3" are "double 0-3"."""
    runs: list[tuple[str, int, list[str]]] = []
    for first, name in enumerate(blocks):
        kind, index = re.fullmatch(r"(.*?)\s*(\d*)", name, re.DOTALL).groups()
        if runs and runs[-1][0] == kind:
            runs[-1][2].append(index)
        else:
            runs.append((kind, first, [index]))
    return [
        (f"{kind} {numbers[0] + '-' + numbers[-1] if len(numbers) > 1 else numbers[0]}".strip(), first, len(numbers))
        for kind, first, numbers in runs
    ]
