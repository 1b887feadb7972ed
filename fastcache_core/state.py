"""Everything kept between evaluations of one sampling run: run > branch > site. Freed as a whole with the run."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .predictors import History
from .significance import ErrorStatistics


class KeysValues:
    """Keys and values of every token of one block, [samples, heads, tokens, width] or [samples, tokens, heads * width].

    Static tokens keep those of their anchor, so that active tokens still attend to the whole image.
    """

    def __init__(self, keys: Tensor, values: Tensor, device: torch.device | None = None):
        self.keys, self.values = (kept.to(device or kept.device, copy=True) for kept in (keys, values))

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    def write_rows(self, rows: Tensor, keys: Tensor, values: Tensor) -> None:
        """Replace the given tokens' keys and values; rows [samples, k] index the block's sequence."""
        axis = self.keys.ndim - 2
        index = rows.reshape(len(rows), *[1] * (axis - 1), -1, 1).to(self.keys.device)
        for kept, new in ((self.keys, keys), (self.values, values)):
            kept.scatter_(axis, index.expand_as(new), new.to(kept.device))


@dataclass
class TokenAnchors:
    """Hidden state [samples, tokens, width] at which each image token was last computed, and evaluations since."""

    hidden: Tensor
    age: Tensor

    @classmethod
    def fresh(cls, h: Tensor) -> TokenAnchors:
        return cls(h.clone(), torch.zeros(h.shape[:2], dtype=torch.int32, device=h.device))

    def move(self, h: Tensor, active: Tensor) -> None:
        """Active tokens (boolean [samples, tokens]) get their anchor at h, the others grow older."""
        self.hidden = torch.where(active[..., None], h, self.hidden)
        self.age = torch.where(active, 0, self.age + 1)

    @property
    def nbytes(self) -> int:
        return self.hidden.nbytes + self.age.nbytes


@dataclass
class Lead:
    """What decisions for one view of the picture rest on.

    entry: state [samples, tokens, width] that entered the blocks at the last evaluation. accumulated: its relative
    change since evaluation computed_at, the last that was not predicted. skips: evaluations predicted since then.
    errors: what predictions would have been off by when they were not needed.
    One for all branches that see the same part of the picture: their image tokens are alike when they enter the blocks.
    """

    entry: Tensor
    anchors: TokenAnchors | None
    computed_at: int
    accumulated: float = 0.0
    skips: int = 0
    errors: ErrorStatistics = field(default_factory=ErrorStatistics)

    @property
    def nbytes(self) -> int:
        return self.entry.nbytes + (self.anchors.nbytes if self.anchors else 0)


@dataclass
class Branch:
    """State of one conditioning: residuals per site and stream, keys and values per block."""

    histories: dict[tuple[int, str], History] = field(default_factory=dict)
    keys_values: dict[int, KeysValues] = field(default_factory=dict)
    computed_at: int = -1  # index of the last evaluation in which some of its blocks were computed

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (*self.histories.values(), *self.keys_values.values()))


@dataclass
class RunState:
    branches: dict[Hashable, Branch] = field(default_factory=dict)

    def branch(self, key: Hashable) -> Branch:
        return self.branches.setdefault(key, Branch())

    @property
    def nbytes(self) -> int:
        return sum(branch.nbytes for branch in self.branches.values())
