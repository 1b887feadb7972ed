"""What stands in for a block that is not run: y = h + r, with the residual r carried from its anchors.

Extrapolation in sigma, damped:  r(s) = r_a + d * (s - s_a) * (r_a - r_b) / (s_a - s_b),  a and b the last two anchors.
d = 0 is residual reuse (FORA, arXiv 2407.01425, at block level); d = 1 the first-order Taylor step of TaylorSeer
(arXiv 2503.06923), in sigma instead of step numbers, so that uneven schedules and several calls a step are right.
"""

from __future__ import annotations

import torch
from torch import Tensor


class History:
    """Residual of one stream at its anchor and its slope in sigma, per token once tokens were computed apart.

    residual, slope: [samples, tokens, width]; sigma: float, or [samples, tokens, 1] when tokens have anchors of their
    own. Tensors are kept on `device` and come back to the hidden state's device when they are used.
    """

    def __init__(self, residual: Tensor, sigma: float, damping: float, device: torch.device | None = None):
        self.device = device
        self.residual = self._keep(residual)
        self.slope: Tensor | None = None
        self.sigma: float | Tensor = sigma
        self.damping = damping

    def _keep(self, tensor: Tensor) -> Tensor:
        return tensor if self.device is None else tensor.to(self.device)

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in (self.residual, self.slope, self.sigma) if isinstance(t, Tensor))

    def fits(self, h: Tensor) -> bool:
        """Whether the residual can be added to h."""
        return self.residual.shape == h.shape and self.residual.dtype == h.dtype

    def predict(self, h: Tensor, sigma: float, out: Tensor | None = None) -> Tensor:
        """y = h + r(sigma), in a tensor of its own or in `out`; h is left as it is."""
        y = torch.add(h, self.residual.to(h.device, non_blocking=True), out=out)
        if self.slope is None:
            return y
        ahead = self.damping * (sigma - self.sigma)
        slope = self.slope.to(h.device, non_blocking=True)
        if isinstance(ahead, Tensor):
            return y.addcmul_(slope, ahead.to(h.device, h.dtype))
        return y.add_(slope, alpha=ahead)

    def remember(self, residual: Tensor, sigma: float) -> None:
        """Make `residual`, computed for all tokens at sigma, the new anchor. Takes the tensor over."""
        residual = self._keep(residual)
        if self.damping:
            self.slope = self._slope(self.residual, residual, sigma - self.sigma)
        self.residual, self.sigma = residual, sigma

    def remember_rows(self, rows: Tensor, residual: Tensor, sigma: float) -> None:
        """The same for some tokens only: rows [samples, k], residual [samples, k, width]."""
        residual, rows = self._keep(residual), self._keep(rows)[..., None]
        if not isinstance(self.sigma, Tensor):
            shape = (*self.residual.shape[:2], 1)
            self.sigma = torch.full(shape, self.sigma, dtype=torch.float32, device=self.residual.device)
        wide = rows.expand(-1, -1, residual.shape[-1])
        if self.damping:
            slope = self._slope(self.residual.gather(1, wide), residual, sigma - self.sigma.gather(1, rows))
            if self.slope is None:
                self.slope = torch.zeros_like(self.residual)
            self.slope.scatter_(1, wide, torch.zeros_like(residual) if slope is None else slope)
        self.residual.scatter_(1, wide, residual)
        self.sigma.scatter_(1, rows, sigma)

    @staticmethod
    def _slope(old: Tensor, new: Tensor, distance: float | Tensor) -> Tensor | None:
        """(new - old) / distance; zero where an anchor is repeated at the same sigma, which has no slope."""
        if isinstance(distance, Tensor):
            inverse = torch.where(distance == 0, torch.zeros_like(distance), 1 / distance)
            return (new - old) * inverse.to(new.dtype)
        return None if distance == 0 else (new - old).div_(distance)
