"""Everything kept between evaluations of one sampling run: run > branch > site. Freed as a whole with the run."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .predictors import Damping, Forecast, History
from .significance import ErrorStatistics
from .sites import Site
from .store import Store


class KeysValues:
    """Keys and values of every token of one block, [samples, heads, tokens, width] or [samples, tokens, heads * width].

    Those of static tokens are carried forward in place from their anchors, as residuals are, so that active tokens
    still attend to the whole image. mask: of the keys, [samples or 1, 1 or heads, 1, tokens], or None.
    """

    def __init__(self, keys: Tensor, values: Tensor, place: float, mask: Tensor | None, order: int, store: Store):
        self.shapes = keys.shape, values.shape
        self.histories = [History(in_a_row(part), place, order, store) for part in (keys, values)]
        self.mask = None if mask is None else mask.clone()

    @property
    def nbytes(self) -> int:
        return sum(history.nbytes for history in self.histories)

    def fits(self, keys: Tensor, values: Tensor) -> bool:
        return self.shapes == (keys.shape, values.shape) and self.histories[0].dtype == keys.dtype

    def remember(self, keys: Tensor, values: Tensor, place: float, mask: Tensor | None) -> None:
        """All tokens were computed at place."""
        for history, part in zip(self.histories, (keys, values), strict=True):
            history.remember(in_a_row(part), place)
        self.mask = None if mask is None else mask.clone()

    def remember_rows(self, rows: Tensor, keys: Tensor, values: Tensor, place: float) -> None:
        """The given tokens were; rows [samples, k] index the block's sequence."""
        for history, part in zip(self.histories, (keys, values), strict=True):
            history.remember_rows(rows, in_a_row(part), place)

    def at(self, place: float, forecast: Forecast, device: torch.device) -> list[Tensor]:
        """Keys and values of all tokens, tensors of their own."""
        carried = [history.carried(place, forecast, device) for history in self.histories]
        return [apart(part, shape) for part, shape in zip(carried, self.shapes, strict=True)]


def in_a_row(part: Tensor) -> Tensor:
    """A copy [samples, tokens, heads * width] of that or of [samples, heads, tokens, width]."""
    part = part if part.ndim == 3 else part.transpose(1, 2)
    return part.clone(memory_format=torch.contiguous_format).flatten(2)


def apart(part: Tensor, shape: torch.Size) -> Tensor:
    """A view of a tensor `in_a_row` in the shape it was of."""
    return part if len(shape) == 3 else part.unflatten(2, (shape[1], shape[3])).transpose(1, 2)


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

    def rest(self) -> None:
        """All tokens grow older."""
        self.age = self.age + 1

    def move_all(self, h: Tensor) -> None:
        """All tokens get their anchor at h, which is shared with whoever keeps it and never written into."""
        self.hidden, self.age = h, torch.zeros_like(self.age)

    @property
    def nbytes(self) -> int:
        return self.hidden.nbytes + self.age.nbytes


class Step(NamedTuple):
    """One evaluation on a view's way: its sigma, and the relative change since the one before."""

    sigma: float
    change: float


@dataclass
class SiteRecord:
    """What decisions about one site rest on, for one view of the picture.

    computed_at: last evaluation at which it was not predicted; travelled: how far the entry state had come then. skips:
    evaluations predicted since; longest: the most that were in a row before. errors: what predictions would have
    been off by when they were not needed; size: norm of its last residual; damping: of its extrapolation. left:
    evaluations on the way when it was last computed. rate: last measured error over the change that it took.
    """

    computed_at: int = -1
    travelled: float = 0.0
    skips: int = 0
    longest: int = 0
    errors: ErrorStatistics = field(default_factory=ErrorStatistics)
    damping: Damping = field(default_factory=Damping)
    size: float = 0.0
    left: int = 0
    rate: float | None = None


@dataclass
class Lead:
    """What decisions for one view of the picture rest on.

    entry: state [samples, tokens, width] that entered the blocks at the last evaluation, None where the first block's
    work is looked at instead. travelled: its relative changes so far, added up; path: one by one. looked_at: what is
    looked at, entry state or first block's work, at the last evaluations that computed everything, the newest first, as
    many as the settings need. anchors: of tokens, while they are selected; references: evaluations since tokens of
    reference pictures were computed. One for all branches that see the same part of the picture: their image tokens are
    alike when they enter.
    """

    entry: Tensor | None
    anchors: TokenAnchors | None
    references: int = 0
    travelled: float = 0.0
    sites: dict[Site, SiteRecord] = field(default_factory=dict)
    path: list[Step] = field(default_factory=list)
    looked_at: list[Tensor] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.entry, self.anchors, *self.looked_at) if part is not None)


@dataclass
class Branch:
    """State of one conditioning: residuals per site and stream, keys and values per block and attention call.

    computed_at: the evaluation at which a site's residuals were computed. mode: what was done to its calls besides.
    """

    histories: dict[tuple[Site, str], History] = field(default_factory=dict)
    keys_values: dict[tuple[int, int], KeysValues] = field(default_factory=dict)
    computed_at: dict[Site, int] = field(default_factory=dict)
    mode: Hashable = None

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (*self.histories.values(), *self.keys_values.values()))

    def enter(self, mode: Hashable) -> None:
        """It is called in this mode now; what was kept in another does not hold."""
        if mode != self.mode:
            self.clear()
            self.mode = mode

    def clear(self) -> None:
        self.histories.clear()
        self.keys_values.clear()
        self.computed_at.clear()


@dataclass
class RunState:
    branches: dict[Hashable, Branch] = field(default_factory=dict)

    def branch(self, key: Hashable) -> Branch:
        return self.branches.setdefault(key, Branch())

    def clear(self) -> None:
        """Forget everything that was kept, not who the branches are."""
        for branch in self.branches.values():
            branch.clear()

    @property
    def nbytes(self) -> int:
        return sum(branch.nbytes for branch in self.branches.values())
