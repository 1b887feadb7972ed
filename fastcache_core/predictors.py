"""What stands in for a block that is not run: y = h + r, with the residual r carried from its anchors.

Extrapolation along the noise path (path.py), damped:  r(s) = r_a + d * k * (r_a - r_b),  k = (s - s_a) / (s_a - s_b),
s a place on it, a and b the last two anchors. d = 0 is residual reuse (FORA, arXiv 2407.01425, at block level); d = 1
the first-order Taylor step of TaylorSeer (arXiv 2503.06923), over places instead of step numbers, so that uneven
schedules and several calls a step are right. How much damping is right depends on how far it goes (`damping_at`). A
second difference, r_b - r_c, gives the next term of Newton's interpolation; every forecast is a pair of weights on the
two differences (`Forecast`).

Linear approximation (FastCache, arXiv 2505.20353, re-centred at every anchor, so that it cannot drift):
y = h + r_a + A (h - h_a). With q = r - A h it is y = h + A h + q, and q, what the linear part leaves, is carried
forward like any residual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .linear import LinearMap, OnlinePerChannel
from .signals import TINY, dot, norm
from .store import Store

# Anchors closer than this part of their place are one anchor: samplers of second order evaluate a sigma twice, some of
# them a rounding error apart, and a difference divided by nearly nothing is noise.
SAME_PLACE = 1e-3
LARGEST_FACTOR = 8  # of a forecast's
FARTHEST = 4.0  # times the distance of the last two anchors that a residual is carried at most
DAMPING = 0.8  # of what is right one distance ahead, before it was measured, and as much as all measurements after
FORGETTING = 0.5
HALF_MAX = torch.finfo(torch.float16).max


class Offset(NamedTuple):
    """How a prediction compares with what was computed, on the device.

    error: norm of the difference; size: norm of the computed residual; scalars. length: squared norm of the step that
    extrapolation takes, and along: how much of it would have been right, both [samples]; along / length would have been
    the right damping one distance between anchors ahead (`damping_at`).
    """

    error: Tensor
    size: Tensor
    along: Tensor
    length: Tensor


class Forecast(NamedTuple):
    """How a residual is carried along its last differences, r(s) = r_a + w1 (r_a - r_b) + w2 (r_b - r_c).

    first, second: factors on the terms of Newton's interpolation over places, of which (1, 1) meets a residual that is
    quadratic in them, (d, 0) is damped extrapolation and (0, 0) reuse; unless `in_sigma`, the weights w1 and w2
    themselves. first may be [samples]. taylor: the second term is Taylor's with differences for derivatives, as in
    TaylorSeer, smaller than Newton's near the anchor. bent: first is what damps one distance between anchors ahead,
    elsewhere `damping_at` does.
    """

    first: float | Tensor = 1.0
    second: float = 0.0
    in_sigma: bool = True
    taylor: bool = False
    bent: bool = False


REUSE, UNDAMPED = Forecast(0.0), Forecast(1.0)


def damping_at(ahead: float | Tensor, first: float | Tensor) -> float | Tensor:
    """The damping k distances between anchors ahead, if `first` is right one ahead: 1 + (k + 1) / 2 (first - 1).

    So it is where the residual goes along a parabola whose second difference lies along the first (Newton's second
    term), as far as it does not turn back or speed up: from 0 to 1.
    """
    damping = 1 + (ahead + 1) / 2 * (first - 1)
    return damping.clamp(0, 1) if isinstance(damping, Tensor) else min(max(damping, 0.0), 1.0)


class Damping:
    """The damping of one site's extrapolation one distance between anchors ahead, as it would have been right lately.

    One for every sample of a batch, so that a batch equals its single runs; on the device, never read by the host.
    """

    def __init__(self):
        self._along: Tensor | None = None
        self._weight: Tensor | None = None

    def update(self, along: Tensor, length: Tensor) -> None:
        """along, length: [samples], see `Offset`."""
        if self._along is None or self._along.shape != along.shape:
            self._along, self._weight = torch.zeros_like(along), torch.zeros_like(along)
        # Relative to the step, so that large early residuals do not outweigh all later ones.
        right = along / (length + TINY)
        weight = torch.where((length > TINY) & right.isfinite(), FORGETTING, 0.0)
        self._along = (1 - weight) * self._along + weight * right.nan_to_num(0, 0, 0)
        self._weight = (1 - weight) * self._weight + weight

    @property
    def value(self) -> float | Tensor:
        """One number, or [samples]."""
        if self._along is None:
            return DAMPING
        return (self._along.clamp(-1, 1) + DAMPING) / (self._weight + 1)


def bounded(h: Tensor) -> Tensor:
    """h, in place, within what half precision can hold: models clip there, and infinity would become NaN."""
    return h.clamp_(-HALF_MAX, HALF_MAX) if h.dtype == torch.float16 else h


def per_sample(number: float | Tensor) -> float | Tensor:
    """A number, or [samples] as [samples, 1, 1]."""
    return number[:, None, None] if isinstance(number, Tensor) else number


class History:
    """Residual of one stream at its anchor and its last differences, per token once tokens were computed apart.

    residual, differences: [samples, tokens, width]. place, of the anchor, and distance, to the anchor before: floats,
    or [samples, tokens, 1] when tokens have anchors of their own. order: how many differences are kept, 0 to 2, of
    single tokens one at most; differences, not slopes, which overflow half precision where sigmas are close.
    """

    def __init__(self, residual: Tensor, place: float, order: int = 1, store: Store | None = None):
        self.store, self.order = store or Store(), order
        self.shape, self.dtype = residual.shape, residual.dtype
        self._residual = self.store.put(residual)
        self._difference: Tensor | None = None
        self._older: tuple[Tensor, float] | None = None  # the difference before, and its distance
        self.place: float | Tensor = place
        self.distance: float | Tensor = float("inf")

    @property
    def nbytes(self) -> int:
        kept = (self._residual, self._difference, *(self._older or ()), self.place, self.distance)
        return sum(t.nbytes for t in kept if isinstance(t, Tensor))

    def fits(self, h: Tensor) -> bool:
        """Whether the residual can be added to h."""
        return self.shape == h.shape and self.dtype == h.dtype

    def residual(self, device: torch.device) -> Tensor:
        """The residual at the anchor, to be read only."""
        return self.store.get(self._residual, device)

    def difference(self, device: torch.device) -> Tensor | None:
        """The residual's last difference, to be read only; None before there is one."""
        return None if self._difference is None else self.store.get(self._difference, device)

    def predict(self, h: Tensor, place: float, forecast: Forecast = UNDAMPED, out: Tensor | None = None) -> Tensor:
        """y = h + r(place), in a tensor of its own or in `out`; h is left as it is."""
        return self._carry(torch.add(h, self.residual(h.device), out=out), place, forecast)

    def carried(self, place: float, forecast: Forecast, device: torch.device) -> Tensor:
        """r(place) itself, in a tensor of its own."""
        return self._carry(self.residual(device).clone(), place, forecast)

    def _carry(self, y: Tensor, place: float, forecast: Forecast) -> Tensor:
        """Add to y itself what carries the residual from its anchor to this place."""
        for difference, weight in self._terms(y.device, place, forecast):
            if isinstance(weight, Tensor):
                y.addcmul_(difference, weight.to(y.dtype))
            else:
                y.add_(difference, alpha=weight)
        return bounded(y)

    def offset(
        self,
        residual: Tensor,
        h: Tensor | None,
        place: float,
        forecast: Forecast,
        rows: slice,
        parts: Sequence[int] = (),
    ) -> Offset:
        """By how much predicting `residual` would have been off, on these rows of the tokens.

        parts: widths of what tokens are made of, where each has to be close by itself; the one that is off most counts.
        """
        residual, h = residual[:, rows], None if h is None else h[:, rows]
        missed = self._rest(residual, h).float() - self.residual(residual.device)[:, rows].float()
        size, difference = norm(residual), self.difference(residual.device)
        if difference is None:
            nothing = torch.zeros(len(residual), device=residual.device)
            return Offset(self._off_by(missed, residual, size, parts), size, nothing, nothing)
        ahead = self._ahead(place)
        ahead = ahead[:, rows].clamp(min=0) if isinstance(ahead, Tensor) else max(ahead, 0.0)
        step = difference[:, rows].float() * ahead
        length, bend = dot(step, step), 2 / (ahead + 1)  # damping_at, the other way round
        if isinstance(bend, Tensor):
            along = length + dot(missed - step, step * bend)
        else:
            along = length + bend * (dot(missed, step) - length)
        for term, weight in self._terms(residual.device, place, forecast):
            cut = weight[:, rows] if isinstance(weight, Tensor) and weight.shape[1] > 1 else weight
            missed = missed - cut * term[:, rows].float()
        return Offset(self._off_by(missed, residual, size, parts), size, along, length)

    @staticmethod
    def _off_by(missed: Tensor, residual: Tensor, size: Tensor, parts: Sequence[int]) -> Tensor:
        """The norm of what was missed; of several parts, as if all were off as the worst of them."""
        if len(parts) < 2:
            return norm(missed)
        pairs = zip(missed.split(tuple(parts), dim=-1), residual.split(tuple(parts), dim=-1), strict=True)
        return torch.stack([norm(off) / (norm(part) + TINY) for off, part in pairs]).amax() * size

    def _terms(self, device: torch.device, place: float, forecast: Forecast) -> list[tuple[Tensor, float | Tensor]]:
        """The differences with their weights, those that count."""
        difference = self.difference(device)
        if difference is None:
            return []
        first, second = per_sample(forecast.first), forecast.second
        if not forecast.in_sigma:
            weights = first, second
        else:
            ahead = self._ahead(place)
            first = damping_at(ahead, first) if forecast.bent else first
            curved = self._curved(ahead, forecast.taylor) if second and self._older is not None else (0.0, 0.0)
            weights = first * ahead + second * curved[0], second * curved[1]
        terms = [(difference, weights[0])]
        if self._older is not None and weights[1]:
            terms.append((self.store.get(self._older[0], device), weights[1]))
        return terms

    def _rest(self, residual: Tensor, h: Tensor | None) -> Tensor:
        """The part of a residual that is carried forward in time."""
        return residual

    def _ahead(self, place: float) -> float | Tensor:
        k = (place - self.place) / self.distance
        return k.clamp(-1, FARTHEST) if isinstance(k, Tensor) else min(max(k, -1.0), FARTHEST)

    def _curved(self, ahead: float, taylor: bool) -> tuple[float, float]:
        """Weights of both differences in the second term, Newton's (s - s_a)(s - s_b) [a, b, c], or Taylor's.

        Zero where sigma turned back between the anchors, as in samplers that add noise: its terms would be nearly
        divided by nothing.
        """
        last, before = self.distance, self._older[1]
        if last * before <= 0:
            return 0.0, 0.0
        product = ahead**2 * last / 2 if taylor else ahead * (ahead + 1) * last**2 / (last + before)
        return product / last, -product / before

    def remember(self, residual: Tensor, place: float, h: Tensor | None = None) -> None:
        """Make `residual`, computed for all tokens at place from h, the new anchor. Takes the tensors over."""
        new = self._rest(residual, h)
        if self.order:
            self._differ(new, place)
        self._residual, self.place = self.store.put(new), place

    def _differ(self, new: Tensor, place: float) -> None:
        """Take the difference to the new residual, except where the new anchor is at the old one's place."""
        distance, same = place - self.place, SAME_PLACE * abs(place)
        if isinstance(distance, float):
            if isinstance(self.distance, float) and math.isfinite(self.distance):
                same = max(same, SAME_PLACE * abs(self.distance))  # places may be zero
            if abs(distance) > same:
                if self.order > 1 and self._difference is not None:
                    self._older = self._difference, self.distance
                self._difference, self.distance = self.store.put(bounded(new - self.residual(new.device))), distance
            return
        moved, before = distance.abs() > same, self.difference(new.device)
        self._difference = self.store.put(torch.where(moved, bounded(new - self.residual(new.device)), before))
        self.distance = torch.where(moved, distance, self.distance)

    def remember_rows(self, rows: Tensor, residual: Tensor, place: float, h: Tensor | None = None) -> None:
        """The same for some tokens only: rows [samples, k], residual and h [samples, k, width]."""
        part, thin = self._part(rows), rows[..., None]
        wide = thin.expand_as(residual)
        part.remember(self._rest(residual, h), place)
        self._residual = self._scattered(self._residual, wide, part._residual)
        if self.order:
            self._difference = self._scattered(self._difference, wide, part._difference)
            self.distance = self.distance.scatter(1, thin, part.distance)
        self.place = self.place.scatter(1, thin, place)

    def offset_of_rows(
        self, rows: Tensor, residual: Tensor, h: Tensor, counted: Tensor, place: float, forecast: Forecast
    ) -> Offset:
        """`offset` of some tokens only, before they are remembered; counted [samples, k, 1]: which of them count."""
        part = self._part(rows)
        part._residual = part._residual * counted
        if part._difference is not None:
            part._difference = part._difference * counted
        found = part.offset(self._rest(residual, h) * counted, None, place, forecast, slice(None))
        return found._replace(size=norm(residual * counted))  # of the whole residual, as in `offset`

    def _part(self, rows: Tensor) -> History:
        """Of some tokens only, which have anchors of their own."""
        self._per_token(rows.device)
        thin = rows[..., None]
        wide = thin.expand(-1, -1, self.shape[-1])
        part = History(self.residual(rows.device).gather(1, wide), 0.0, self.order)
        part.place, part.distance = self.place.gather(1, thin), self.distance.gather(1, thin)
        if self.order:
            part._difference = self.difference(rows.device).gather(1, wide)
        return part

    def _scattered(self, kept: Tensor, wide: Tensor, values: Tensor) -> Tensor:
        whole = self.store.get(kept, values.device)
        return self.store.put(whole.scatter_(1, wide, values) if whole is kept else whole.scatter(1, wide, values))

    def _per_token(self, device: torch.device) -> None:
        self.order, self._older = min(self.order, 1), None
        shape = (*self.shape[:2], 1)
        for name in ("place", "distance"):
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                setattr(self, name, torch.full(shape, value, dtype=torch.float32, device=device))
        if self._difference is None and self.order:
            self._difference = self.store.put(torch.zeros(self.shape, dtype=self.dtype, device=device))


class LinearHistory(History):
    """A history whose residual has a part that is linear in the state: r = A h + q.

    linear: the map A from a profile; None: one factor per sample and channel, fitted between the anchors, which takes
    one more tensor, the anchor's state.
    """

    def __init__(
        self,
        residual: Tensor,
        place: float,
        order: int,
        store: Store,
        h: Tensor,
        linear: LinearMap | None = None,
    ):
        self.linear = linear
        self._fits = [OnlinePerChannel() for _ in h] if linear is None else []
        self._factors: Tensor | None = None  # [samples, 1, width], once they were fitted
        super().__init__(self._rest(residual, h), place, order, store)
        self._anchor = self.store.put(h) if self._fits else None

    @property
    def nbytes(self) -> int:
        return super().nbytes + (0 if self._anchor is None else self._anchor.nbytes)

    def _linear_part(self, h: Tensor) -> Tensor | None:
        """A h, None while there is no A."""
        if self.linear is not None:
            return bounded(self.linear(h))
        return None if self._factors is None else bounded(h * self._factors)

    def _rest(self, residual: Tensor, h: Tensor | None) -> Tensor:
        part = self._linear_part(h)
        return residual if part is None else bounded(residual - part)

    def predict(self, h: Tensor, place: float, forecast: Forecast = UNDAMPED, out: Tensor | None = None) -> Tensor:
        part, y = self._linear_part(h), super().predict(h, place, forecast, out)
        return y if part is None else bounded(y.add_(part))

    def remember(self, residual: Tensor, place: float, h: Tensor | None = None) -> None:
        if self._fits:
            self._refit(residual, h)
        super().remember(residual, place, h)

    def _refit(self, residual: Tensor, h: Tensor) -> None:
        """Fit A to the last two anchors, and say what the earlier one's residual is under it."""
        before, q = self.store.get(self._anchor, h.device), self.residual(h.device)
        part = self._linear_part(before)
        whole = q if part is None else q + part
        for i, fit in enumerate(self._fits):
            fit.update((h - before)[i : i + 1], (residual - whole)[i : i + 1])
        self._factors = torch.stack([fit.map().scale for fit in self._fits])[:, None].to(h.dtype)
        self._residual = self.store.put(whole - self._linear_part(before))
        self._anchor = self.store.put(h)

    def remember_rows(self, rows: Tensor, residual: Tensor, place: float, h: Tensor | None = None) -> None:
        super().remember_rows(rows, residual, place, h)
        if self._anchor is not None:
            self._anchor = self._scattered(self._anchor, rows[..., None].expand_as(h), h)
