"""How much the hidden state changed. Pure functions; h and reference are [samples, tokens, width]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TINY = 1e-12


def norm(h: Tensor) -> Tensor:
    """Frobenius norm, a scalar in float32."""
    return torch.linalg.vector_norm(h, dtype=torch.float32)


def relative_change(h: Tensor, reference: Tensor, order: float = 2) -> Tensor:
    """||h - reference|| / ||reference|| (FastCache, arXiv 2505.20353, section 3.2), the largest over samples: a scalar.

    order: of the norm; 2 is FastCache's, 1 gives a ratio of mean absolute values, as many methods have it. The largest,
    not the mean: in a batch, one image that still changes must not be hidden by others that rest.
    """
    difference, norm = change_norms(h, reference, order)
    return (difference / (norm + TINY)).amax()


def change_norms(h: Tensor, reference: Tensor, order: float) -> tuple[Tensor, Tensor]:
    """||h - reference|| and ||reference|| of every sample: [samples] each."""
    # In half precision, copies in float32 would take more memory than all that is kept of a long video.
    difference, norm = (
        torch.linalg.vector_norm(part, order, dim=(1, 2), dtype=torch.float32) for part in (h - reference, reference)
    )
    return difference, norm


def mean(x: Tensor) -> Tensor:
    """Of every sample's numbers, x [samples, ...]: [samples], in float32."""
    return x.mean(dim=tuple(range(1, x.ndim)), dtype=torch.float32)


def token_saliency(h: Tensor, anchor: Tensor, mean: Callable[[Tensor], Tensor] = mean) -> Tensor:
    """Squared change of each token since its anchor over the tokens' mean squared norm: [samples, tokens].

    The paper thresholds the squared change itself; normalised, one threshold serves models of every width and scale.
    mean: of every sample's numbers, where not all tokens are here.
    """
    change = (h - anchor).float().square().sum(dim=-1)
    scale = mean(anchor.float().square().sum(dim=-1))[:, None]
    return change / (scale + TINY)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of every sample's numbers: [samples], in float32."""
    return (a * b).sum(dim=(1, 2), dtype=torch.float32)
