"""What stands in for a block that is not run: y = h + r, with the residual r carried from its anchors.

Extrapolation in sigma, damped:  r(s) = r_a + d * k * (r_a - r_b),  k = (s - s_a) / (s_a - s_b),  a and b the last two
anchors. d = 0 is residual reuse (FORA, arXiv 2407.01425, at block level); d = 1 the first-order Taylor step of
TaylorSeer (arXiv 2503.06923), in sigma instead of step numbers, so that uneven schedules and several calls a step are
right.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Anchors closer than this part of sigma are one anchor: samplers of second order evaluate a sigma twice, some of them
# a rounding error apart, and a difference divided by nearly nothing is noise.
SAME_SIGMA = 1e-3
FARTHEST = 4.0  # times the distance of the last two anchors that a residual is carried at most


class History:
    """Residual of one stream at its anchor and its last difference, per token once tokens were computed apart.

    residual, difference: [samples, tokens, width]. sigma, of the anchor, and distance, to the anchor before: floats, or
    [samples, tokens, 1] when tokens have anchors of their own. Tensors are kept on `device` (None: where they are
    computed) and come back to the hidden state's device when they are used. The difference is kept, not the slope,
    which overflows half precision where sigmas are close.
    """

    def __init__(self, residual: Tensor, sigma: float, damping: float, device: torch.device | None = None):
        self.device, self.damping = device, damping
        self.residual = self._keep(residual)
        self.difference: Tensor | None = None
        self.sigma: float | Tensor = sigma
        self.distance: float | Tensor = float("inf")

    def _keep(self, tensor: Tensor) -> Tensor:
        return tensor if self.device is None else tensor.to(self.device)

    @property
    def nbytes(self) -> int:
        kept = (self.residual, self.difference, self.sigma, self.distance)
        return sum(t.nbytes for t in kept if isinstance(t, Tensor))

    def fits(self, h: Tensor) -> bool:
        """Whether the residual can be added to h."""
        return self.residual.shape == h.shape and self.residual.dtype == h.dtype

    def predict(self, h: Tensor, sigma: float, out: Tensor | None = None) -> Tensor:
        """y = h + r(sigma), in a tensor of its own or in `out`; h is left as it is."""
        y = torch.add(h, self.residual.to(h.device, non_blocking=True), out=out)
        if self.difference is None:
            return y
        difference, k = self.difference.to(h.device, non_blocking=True), self._ahead(sigma)
        if isinstance(k, Tensor):
            return y.addcmul_(difference, k.to(h.device, h.dtype))
        return y.add_(difference, alpha=k)

    def expected(self, sigma: float) -> Tensor:
        """r(sigma), where it is kept."""
        return self.predict(torch.zeros_like(self.residual), sigma)

    def _ahead(self, sigma: float) -> float | Tensor:
        k = (sigma - self.sigma) / self.distance
        bounded = k.clamp(-1, FARTHEST) if isinstance(k, Tensor) else min(max(k, -1.0), FARTHEST)
        return self.damping * bounded

    def remember(self, residual: Tensor, sigma: float) -> None:
        """Make `residual`, computed for all tokens at sigma, the new anchor. Takes the tensor over."""
        residual = self._keep(residual)
        if self.damping:
            self._differ(residual, sigma - self.sigma, SAME_SIGMA * sigma)
        self.residual, self.sigma = residual, sigma

    def _differ(self, residual: Tensor, distance: float | Tensor, same: float) -> None:
        """Take the difference to the new residual, except where the new anchor is at the old one's sigma."""
        if isinstance(distance, float):
            if abs(distance) > same:
                self.difference, self.distance = residual - self.residual, distance
            return
        moved = distance.abs() > same
        before = torch.zeros_like(residual) if self.difference is None else self.difference
        self.difference = torch.where(moved, residual - self.residual, before)
        self.distance = torch.where(moved, distance, self.distance)

    def remember_rows(self, rows: Tensor, residual: Tensor, sigma: float) -> None:
        """The same for some tokens only: rows [samples, k], residual [samples, k, width]."""
        self._per_token()
        rows = self._keep(rows)[..., None]
        wide = rows.expand(-1, -1, residual.shape[-1])
        part = History(self.residual.gather(1, wide), 0.0, self.damping, self.device)
        part.sigma, part.distance = self.sigma.gather(1, rows), self.distance.gather(1, rows)
        part.difference = self.difference.gather(1, wide)
        part.remember(residual, sigma)
        self.residual.scatter_(1, wide, part.residual)
        self.difference.scatter_(1, wide, part.difference)
        self.distance.scatter_(1, rows, part.distance)
        self.sigma.scatter_(1, rows, sigma)

    def _per_token(self) -> None:
        shape = (*self.residual.shape[:2], 1)
        for name in ("sigma", "distance"):
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                setattr(self, name, torch.full(shape, value, dtype=torch.float32, device=self.residual.device))
        if self.difference is None:
            self.difference = torch.zeros_like(self.residual)
