"""Least-squares fits on what was recorded: linear maps of the residual's change, and how far to carry what they leave.

All are pure functions. states, residuals: [E, tokens, width], of evaluations at sigmas [E].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..linear import Full, LinearMap, LowRank, PerChannel
from ..predictors import REUSE, Forecast, History
from ..signals import TINY

GAPS = (1, 2, 3)  # evaluations over which a prediction has to bridge
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # as parts of the mean square of the channels' changes
WORTH = 0.02  # explained variance that a dearer kind of map must add
LEAST_EXPLAINED = 0.02
HELD_OUT = 0.25
FACTOR_RIDGE = 1e-3
NOTHING = 1e-10  # of a squared norm: rounding


class FittedMap(NamedTuple):
    """A map, the part of the residual's change that it explains where it was not fitted, and the ridge it took."""

    linear: LinearMap
    explained: float
    ridge: float


def increments(states: Tensor, residuals: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Changes of state and residual from one evaluation to another, [tokens, width] each."""
    for gap in GAPS:
        for end in range(gap, len(states)):
            yield states[end] - states[end - gap], residuals[end] - residuals[end - gap]


def fit_map(states: Tensor, residuals: Tensor, runs: Tensor, rank: int = 64, dense: bool = True) -> FittedMap | None:
    """The linear map A of r - r_a = A (h - h_a) that explains most of the change in runs it was not fitted on.

    Ridge regression towards zero on increments, per channel, full, and of a rank (reduced-rank regression); ridge and
    kind by held-out error, a cheaper kind where a dearer one adds nothing worth it; then once more on everything. runs
    [tokens]: which run each token is from. dense: whether other kinds than per channel are tried, which takes time and
    memory that grow with the width. None where no map explains anything.
    """
    held = runs >= runs.max() + 1 - max(1, round(HELD_OUT * (int(runs.max()) + 1)))
    if held.all() or not held.any():  # a single run: its later half of tokens
        held = torch.arange(len(runs)) >= len(runs) // 2
    fitted, test = ((Dense if dense else Diagonal).of(states[:, part], residuals[:, part]) for part in (~held, held))
    each, every = (fitted.diagonal, test.diagonal), (fitted, test)

    def best(kind: str, moments: tuple[Diagonal, Diagonal], ridges: Sequence[float] = RIDGES) -> tuple:
        scores = ((moments[1].explained(moments[0].solved(kind, rank, ridge)), ridge) for ridge in ridges)
        return *max(scores), kind, moments

    found = [best("per_channel", each)]
    if dense:
        full = best("full", every)
        found += [best("low_rank", every, [full[1]]), full]  # its directions are the full one's, at the same ridge
    chosen = (LEAST_EXPLAINED - WORTH, 0.0, "", each)
    for dearer in found:
        chosen = dearer if dearer[0] > chosen[0] + WORTH else chosen
    score, ridge, kind, (some, others) = chosen
    return FittedMap((some + others).linear(kind, rank, ridge), score, ridge) if kind else None


@dataclass(frozen=True)
class Diagonal:
    """Sums over increments, channel by channel: dh dh and dh dr, [width], and |dr|^2."""

    squares: Tensor
    products: Tensor
    total: float

    @classmethod
    def of(cls, states: Tensor, residuals: Tensor) -> Diagonal:
        squares, products, total = 0.0, 0.0, 0.0
        for dh, dr in increments(states, residuals):  # one after another: there are dozens, of matrices in wide models
            more = cls._sums(dh, dr)
            squares, products = more[0].add_(squares), more[1].add_(products)
            total += float(dr.double().square().sum())
        return cls(squares, products, total)

    @property
    def diagonal(self) -> Diagonal:
        """Of single channels."""
        return self

    @staticmethod
    def _sums(dh: Tensor, dr: Tensor) -> tuple[Tensor, Tensor]:
        return (dh * dh).sum(dim=0).double(), (dh * dr).sum(dim=0).double()

    def __add__(self, other: Diagonal) -> Diagonal:
        sums = self.squares + other.squares, self.products + other.products, self.total + other.total
        return type(self)(*sums)

    def solved(self, kind: str, rank: int, ridge: float) -> Tensor:
        """Factors w of dr ~ w dh."""
        return self.products / (self.squares + ridge * self.squares.mean() + TINY)

    def explained(self, factors: Tensor) -> float:
        """1 - |dr - w dh|^2 / |dr|^2."""
        return float((2 * factors * self.products - factors**2 * self.squares).sum()) / (self.total + TINY)

    def linear(self, kind: str, rank: int, ridge: float) -> LinearMap:
        return PerChannel(self.solved(kind, rank, ridge).float())


class Dense(Diagonal):
    """The same over all pairs of channels: dh^T dh and dh^T dr, [width, width]."""

    @staticmethod
    def _sums(dh: Tensor, dr: Tensor) -> tuple[Tensor, Tensor]:
        return (dh.T @ dh).double(), (dh.T @ dr).double()

    @property
    def diagonal(self) -> Diagonal:
        return Diagonal(self.squares.diagonal(), self.products.diagonal(), self.total)

    def solved(self, kind: str, rank: int, ridge: float) -> Tensor:
        """The matrix W of dr ~ dh W."""
        matrix = self._full(ridge)
        if kind == "full":
            return matrix
        axes = self._axes(matrix, rank)
        return matrix @ axes @ axes.T

    def _full(self, ridge: float) -> Tensor:
        regularised = self.squares.clone()
        regularised.diagonal().add_(ridge * self.squares.diagonal().mean() + TINY)
        return torch.linalg.solve(regularised, self.products)

    def _axes(self, matrix: Tensor, rank: int) -> Tensor:
        """Reduced-rank regression (Izenman 1975): the directions that matter most in what the full map predicts."""
        return torch.linalg.eigh(matrix.T @ self.products).eigenvectors[:, -self._rank(rank) :]

    def explained(self, matrix: Tensor) -> float:
        """1 - |dr - dh W|^2 / |dr|^2."""
        gained = 2 * (matrix * self.products).sum() - (matrix * (self.squares @ matrix)).sum()
        return float(gained) / (self.total + TINY)

    def linear(self, kind: str, rank: int, ridge: float) -> LinearMap:
        matrix = self._full(ridge)
        if kind == "full":
            return Full(matrix.T.float().contiguous())
        axes = self._axes(matrix, rank)
        down = (matrix @ axes).T
        even = (down.norm(dim=1) + TINY).sqrt()  # both matrices as large, for what lies between them in half precision
        return LowRank((axes * even).float().contiguous(), (down / even[:, None]).float().contiguous())

    def _rank(self, wanted: int) -> int:
        """No more than half the width, above which a full matrix is cheaper."""
        return max(1, min(wanted, len(self.squares) // 2))


def left_over(states: Tensor, residuals: Tensor, linear: LinearMap | None) -> Tensor:
    """q = r - A h, which is carried forward in time."""
    return residuals if linear is None else residuals - linear(states)


class FittedFactors(NamedTuple):
    """Factors of every evaluation's forecast, [E][2], and its relative error |q - forecast| / |r|, 0 where computed."""

    factors: list[list[float]]
    errors: list[float]


def fit_factors(rest: Tensor, residuals: Tensor, places: Sequence[float], computed: Sequence[int]) -> FittedFactors:
    """How far to carry what the linear map leaves, rest [E, tokens, width], at every evaluation that is not computed.

    Least squares on the terms of the predictor itself, whose anchors are the evaluations that are computed before.
    """
    history, factors, errors = None, [], []
    for q, r, place, is_computed in zip(rest, residuals, places, computed, strict=True):
        q, r = q[None], r[None]
        if is_computed:
            if history is None:
                history = History(q, place, order=2)
            else:
                history.remember(q, place)
            factors.append([0.0, 0.0])
            errors.append(0.0)
            continue
        nothing = torch.zeros_like(q)
        reused = history.predict(nothing, place, REUSE)
        terms = [history.predict(nothing, place, pair) - reused for pair in (Forecast(1.0, 0.0), Forecast(0.0, 1.0))]
        found = _least_squares(terms, q - reused, float(q.double().square().sum()))
        left = q - reused - sum(factor * term for factor, term in zip(found, terms, strict=True))
        factors.append(found)
        errors.append(float(left.norm() / (r.norm() + TINY)))
    return FittedFactors(factors, errors)


def _least_squares(terms: Sequence[Tensor], wanted: Tensor, sizes: float) -> list[float]:
    """Factors on the terms; 0 on those that are nothing but rounding of numbers of that squared norm."""
    flat, target = torch.stack([term.flatten() for term in terms]).double(), wanted.flatten().double()
    gram, along = flat @ flat.T, flat @ target
    scale = gram.diagonal().clamp(min=1e-30).rsqrt()
    there = (gram.diagonal() > NOTHING * sizes).double()
    gram = gram * scale[:, None] * scale + FACTOR_RIDGE * torch.eye(len(terms)).double()
    gram = gram * there[:, None] * there + torch.diag(1 - there)
    solved = torch.linalg.solve(gram, along * scale * there) * scale * there
    return solved.clamp(-4, 4).tolist()
