"""PSNR, SSIM and the largest difference: against a transcription that reads like the paper, and on images whose
answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastcache_core.metrics import STRIP, closeness, largest_difference, psnr, ssim


def images(*shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture and a disturbed one."""
    draw = np.random.default_rng(seed)
    smooth = np.clip(np.cumsum(draw.normal(0, 0.05, shape), axis=-2) + 0.5, 0, 1)
    return smooth, np.clip(smooth + draw.normal(0, 0.05, shape), 0, 1)


def transcribed_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, equations 13 to 16 word by word, window by window and channel by channel."""
    radius, sigma, k1, k2, dynamic_range = 5, 1.5, 0.01, 0.03, 1.0
    offsets = range(-radius, radius + 1)
    window = np.array([[math.exp(-(i * i + j * j) / (2 * sigma**2)) for j in offsets] for i in offsets])
    window /= window.sum()
    c1, c2 = (k1 * dynamic_range) ** 2, (k2 * dynamic_range) ** 2
    height, width, channels = x.shape
    similarities = []
    for channel in range(channels):
        for row in range(radius, height - radius):
            for column in range(radius, width - radius):
                at = np.s_[row - radius : row + radius + 1, column - radius : column + radius + 1, channel]
                mean_x, mean_y = (window * x[at]).sum(), (window * y[at]).sum()
                variance_x = (window * (x[at] - mean_x) ** 2).sum()
                variance_y = (window * (y[at] - mean_y) ** 2).sum()
                covariance = (window * (x[at] - mean_x) * (y[at] - mean_y)).sum()
                luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
                structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
                similarities.append(luminance * structure)
    return float(np.mean(similarities))


@pytest.mark.parametrize(
    "shape", [(11, 11, 1), (11, 30, 3), (30, 11, 3), (STRIP + 10, 20, 2), (STRIP + 11, 20, 3), (3 * STRIP, 25, 3)]
)
def test_ssim_is_the_published_formula(shape: tuple[int, int, int]) -> None:
    x, y = images(*shape)
    assert ssim(x, y) == pytest.approx(transcribed_ssim(x, y), abs=1e-12)


def test_ssim_of_equal_images_is_exactly_one() -> None:
    x, _ = images(40, 33, 3)
    assert ssim(x, x.copy()) == 1
    assert ssim(np.zeros((12, 12, 3)), np.zeros((12, 12, 3))) == 1


def test_ssim_is_symmetric_and_below_one() -> None:
    x, y = images(40, 33, 3)
    assert ssim(x, y) == pytest.approx(ssim(y, x), abs=1e-14)
    assert 0.2 < ssim(x, y) < 1


@pytest.mark.parametrize(("level", "shift"), [(0.5, 0.1), (0.0, 1.0), (0.2, -0.2)])
def test_ssim_of_flat_images_is_the_luminance_term(level: float, shift: float) -> None:
    flat = np.full((16, 16, 3), level)
    other = level + shift
    expected = (2 * level * other + 1e-4) / (level**2 + other**2 + 1e-4)
    assert ssim(flat + shift, flat) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_an_inverted_picture_is_negative_and_of_noise_is_near_zero() -> None:
    draw = np.random.default_rng(1)
    noise, other = draw.random((64, 64, 3)), draw.random((64, 64, 3))
    assert ssim(1 - noise, noise) < -0.5
    assert abs(ssim(other, noise)) < 0.1


def test_ssim_sees_lost_structure_where_psnr_does_not() -> None:
    """A constant shift and noise of the same size have the same PSNR."""
    x, _ = images(64, 64, 3)
    x = 0.25 + x / 2
    noise = np.random.default_rng(2).choice([-0.1, 0.1], x.shape)
    assert psnr(x + 0.1, x) == pytest.approx(psnr(x + noise, x)) == pytest.approx(20)
    assert ssim(x + 0.1, x) > ssim(x + noise, x) + 0.2


def test_batches_are_averaged_over_their_images() -> None:
    x, y = images(3, 20, 24, 3)
    assert ssim(x, y) == pytest.approx(np.mean([ssim(a, b) for a, b in zip(x, y, strict=True)]), abs=1e-14)


def test_float32_is_compared_in_float64() -> None:
    x, y = (array.astype(np.float32) for array in images(20, 20, 3))
    assert ssim(x, y) == ssim(x.astype(np.float64), y.astype(np.float64))
    assert psnr(x, y) == psnr(x.astype(np.float64), y.astype(np.float64))


def test_closeness_has_all_three() -> None:
    x, y = images(20, 20, 3)
    y[4, 5, 2] = x[4, 5, 2] + 0.75
    measured = closeness(y, x)
    assert (measured.psnr, measured.ssim) == (psnr(y, x), ssim(y, x))
    assert measured.largest == largest_difference(y, x) == pytest.approx(0.75)
    equal = closeness(x, x)
    assert (equal.psnr, equal.ssim, equal.largest) == (math.inf, 1, 0)


@pytest.mark.parametrize("metric", [psnr, ssim, largest_difference])
def test_different_shapes_are_refused(metric) -> None:
    with pytest.raises(ValueError, match=r"different shapes, \(16, 16, 3\) and \(16, 17, 3\)"):
        metric(np.zeros((16, 16, 3)), np.zeros((16, 17, 3)))


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="windows of 11 x 11 pixels, but the images have 16 x 10"):
        ssim(np.zeros((10, 16, 3)), np.zeros((10, 16, 3)))
