"""How close pictures and latents come to those of a reference. Pictures are bytes [n, height, width, 3]."""

from __future__ import annotations

import numpy as np

from fastcache_core.metrics import psnr, ssim

# Equal pictures have no PSNR. This is a little above what rounding to eight bits alone leaves, 58.9 dB.
MOST_DECIBELS = 60.0


def decibels(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """PSNR of each picture, in float64 [n]; equal ones count as 60 dB, so that means stay finite."""
    return np.array([min(psnr(a, b), MOST_DECIBELS) for a, b in zip(unit(images), unit(reference), strict=True)])


def similarity(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """SSIM of each picture [n]."""
    return np.array([ssim(a, b) for a, b in zip(unit(images), unit(reference), strict=True)])


def latent_error(latents: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Norm of the difference over the reference's norm, of each sample [n]."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (latents, reference))
    return np.linalg.norm(a - b, axis=1) / np.maximum(np.linalg.norm(b, axis=1), 1e-30)


def unit(images: np.ndarray) -> np.ndarray:
    """Bytes as numbers from 0 to 1."""
    return images.astype(np.float64) / 255


def frechet_distance(features: np.ndarray, reference: np.ndarray, components: int = 64) -> float:
    """Between gaussians fitted to two sets of features [n, d], along the reference's principal components.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Of few pictures it says little by itself: compare rows of one table.
    """
    centre = reference.mean(axis=0)
    axes = np.linalg.svd(reference - centre, full_matrices=False)[2][: min(components, len(reference) - 1)]
    a, b = (features - centre) @ axes.T, (reference - centre) @ axes.T
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # The trace of the root of a product of two symmetric matrices, from the symmetric S C1 S with S = C2^(1/2).
    root = _root(second)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ first @ root), 0, None)).sum()
    moved = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(max(moved + np.trace(first) + np.trace(second) - 2 * cross, 0.0))


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric root of a symmetric matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
