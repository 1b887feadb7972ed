"""Which evaluations to compute: the mask that a budget buys, found on recorded residuals.

The error of every mask is known from inner products alone: a forecast is a combination of residuals at its anchors, so
that G[i, j] = <q_i, q_j> of what is carried forward says how far off the best combination of any anchors is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from ..corrector import ANCHORS, lagrange

FARTHEST = 8  # evaluations between two computed ones, at most
RIDGE = 1e-3
UNTIL_CORRECTED = 0.1  # weight of what predictions miss, since the state is astray until the next computed evaluation
Anchors = tuple[int, ...]  # evaluations that were computed, the newest first, up to three

Mask = tuple[int, ...]  # evaluations that are computed


def parts_of_steps(sigmas: Sequence[float]) -> np.ndarray:
    """By how much of the way in sigma each evaluation moves the latent, 1 on average.

    A step's two evaluations, where a sampler of second order looks at both of its ends, share it.
    """
    steps = np.abs(np.diff([*sigmas, 0.0]))
    for second in np.flatnonzero(steps[1:] == 0) + 1:
        steps[second - 1 : second + 1] = steps[second - 1] / 2
    return steps / steps.mean() if steps.any() else np.ones(len(steps))


def are_corrected(sigmas: Sequence[float]) -> bool:
    """Whether predictions at these sigmas are corrected afterwards: where a sampler goes from noise to picture, and
    does not turn back in between."""
    return all(now >= then for now, then in pairwise(sigmas))


class MaskSearch:
    """gram [E, E]: inner products of what is carried forward. sigmas [E]: of the evaluations; places [E]: along what
    predictions are carried and interpolated (path.py), the sigmas where none are given.

    An evaluation's error counts as much as it moves the latent, by its part of the step in sigma; and what is left of
    it counts most once the sampler's steps were corrected (corrector.py), as far as they are.
    """

    def __init__(self, gram: np.ndarray, sigmas: Sequence[float], places: Sequence[float] | None = None):
        self.places = list(sigmas if places is None else places)
        self.gram, self.count, self.sigmas = np.asarray(gram, float), len(sigmas), list(sigmas)
        self.corrected = are_corrected(self.sigmas)
        self.steps = parts_of_steps(self.sigmas)
        self.error = cache(self._error)
        self._between = cache(self._cost_between)

    def _error(self, evaluation: int, anchors: Anchors) -> float:
        """|q - the best combination of the anchors' q|^2; their weights add up to one, so that a constant is met."""
        newest = anchors[0]
        wanted = self._difference(evaluation, newest)
        terms = [self._difference(a, b) for a, b in zip(anchors, anchors[1:], strict=False)]
        if not terms:
            return self._product(wanted, wanted)
        square = np.array([[self._product(a, b) for b in terms] for a in terms])
        along = np.array([self._product(term, wanted) for term in terms])
        weights = np.linalg.solve(square + RIDGE * np.diag(square.diagonal()) + 1e-30 * np.eye(len(terms)), along)
        rest = wanted - weights @ np.array(terms)
        return max(0.0, self._product(rest, rest))

    def _difference(self, a: int, b: int) -> np.ndarray:
        row = np.zeros(self.count)
        row[a] += 1
        row[b] -= 1
        return row

    def _product(self, a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ self.gram @ b)

    def _cost_between(self, anchors: Anchors, following: int) -> float:
        """What the evaluations predicted between the newest anchor and the next one computed cost."""
        gap = range(anchors[0] + 1, following)
        predicted = sum(self.steps[i] ** 2 * self.error(i, anchors) for i in gap)
        if not self.corrected or not gap or following >= self.count - 1:  # nor is anything at the last evaluation
            return predicted
        nodes = self._apart((following, *anchors))[:ANCHORS]
        left = sum(self.steps[i] * self._interpolated(i, nodes) for i in gap)
        return self._product(left, left) + UNTIL_CORRECTED * predicted

    def _apart(self, anchors: Anchors) -> Anchors:
        """Without those whose sigma was evaluated once more."""
        newer = {self.sigmas[anchor]: anchor for anchor in reversed(anchors)}
        return tuple(sorted(newer.values(), reverse=True))

    def _interpolated(self, evaluation: int, nodes: Anchors) -> np.ndarray:
        """How far interpolation between these computed evaluations is from this one."""
        row = np.zeros(self.count)
        row[evaluation] = 1
        row[list(nodes)] -= lagrange(self.places[evaluation], [self.places[node] for node in nodes])
        return row

    def cost(self, mask: Mask) -> float:
        """Of a mask that computes the first evaluation."""
        ends = (*mask, self.count)
        return sum(self._between(mask[max(0, i - 2) : i + 1][::-1], ends[i + 1]) for i in range(len(mask)))

    def best(self, computed: int) -> Mask:
        """The mask of so many computed evaluations, the first and the last of them included, that costs least.

        Dynamic programming over the last three anchors. ValueError where there are fewer than two, or more than there
        are evaluations.
        """
        if not 2 <= computed <= self.count:
            raise ValueError(f"{computed} of {self.count} evaluations cannot be computed; it must be 2 to all of them.")
        reached: dict[Anchors, tuple[float, Mask]] = {(0,): (0.0, (0,))}
        for left in range(computed - 2, -1, -1):
            further: dict[Anchors, tuple[float, Mask]] = {}
            for anchors, (cost, mask) in reached.items():
                for following in self._following(anchors[0], left):
                    total = cost + self._between(anchors, following)
                    key = (following, *anchors[:2])
                    if key not in further or total < further[key][0]:
                        further[key] = total, (*mask, following)
            reached = further
        return min(reached.values())[1]

    def _following(self, newest: int, left: int) -> range:
        """Where the next anchor may lie, when so many more come after it; the last one lies at the end."""
        if left == 0:
            return range(self.count - 1, self.count)
        # No farther than needed, unless so few are left that they must be spread thinner.
        reach = max(FARTHEST, -(-(self.count - 1 - newest) // (left + 1)))
        return range(newest + 1, min(newest + reach, self.count - 1 - left) + 1)

    def neighbours(self, mask: Mask) -> list[Mask]:
        """Masks with one anchor moved by one or two evaluations, what they seem to cost first."""
        moved = {tuple(sorted({*mask[:i], *mask[i + 1 :], place})) for i, place in self._moves(mask)}
        return sorted(moved - {mask}, key=self.cost)

    def _moves(self, mask: Mask) -> Iterator[tuple[int, int]]:
        for i, anchor in enumerate(mask):
            for place in (anchor - 2, anchor - 1, anchor + 1, anchor + 2):
                if 0 < anchor < self.count - 1 and 0 < place < self.count - 1 and place not in mask:
                    yield i, place


def greedy_blocks(changes: np.ndarray, work: float) -> np.ndarray:
    """A mask over evaluations and blocks [E, B] that computes this part of all block calls.

    changes [B, E, G]: how much a block's residual changes within 1 to G evaluations. From everything computed on, the
    block call whose reuse misses least is dropped, again and again (greedy quantile, as in InvarDiff, arXiv
    2512.05134); the first and the last evaluation stay.
    """
    blocks, evaluations, _ = changes.shape
    mask, costs = np.ones((evaluations, blocks), int), np.empty((evaluations, blocks))
    for block in range(blocks):
        costs[:, block] = _drop_costs(mask[:, block], changes[block])
    for _ in range(round((1 - work) * mask.size)):
        evaluation, block = np.unravel_index(np.argmin(costs), costs.shape)
        if not np.isfinite(costs[evaluation, block]):
            break
        mask[evaluation, block] = 0
        costs[:, block] = _drop_costs(mask[:, block], changes[block])
    return mask


def _drop_costs(column: np.ndarray, changes: np.ndarray) -> list[float]:
    """What more would be missed of one block if it were predicted at each evaluation [E], of which it computes those in
    the column: its reuse there, and at the predicted ones that follow. changes [E, G]."""
    anchors = np.maximum.accumulate(np.where(column, np.arange(len(column)), 0))
    return [_drop_cost(column, anchors, changes, e) for e in range(len(column))]


def _drop_cost(column: np.ndarray, anchors: np.ndarray, changes: np.ndarray, evaluation: int) -> float:
    if not column[evaluation] or evaluation in (0, len(column) - 1):
        return np.inf
    before, cost, place = anchors[evaluation - 1], 0.0, evaluation
    while place < len(column) and (place == evaluation or not column[place]):
        if place - before > changes.shape[1]:
            return np.inf
        earlier = 0.0 if place == evaluation else changes[evaluation, place - evaluation - 1]
        cost += changes[before, place - before - 1] - earlier
        place += 1
    return cost
