"""Image quality against a reference, in float64. Arrays are [..., height, width, channels] in 0..1."""

from __future__ import annotations

import math

import numpy as np


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images. Unrelated random images score about 7.7 dB."""
    if image.shape != reference.shape:
        raise ValueError(f"The images have different shapes, {image.shape} and {reference.shape}.")
    error = np.mean(np.square(image.astype(np.float64) - reference.astype(np.float64)))
    return math.inf if error == 0 else -10 * math.log10(error)
