"""What is fitted to recordings: maps and forecasts that are known beforehand are found."""

import weakref

import pytest
import torch

from fastcache_core.calibration import fits
from fastcache_core.calibration.fits import fit_factors, fit_map, left_over
from fastcache_core.linear import Full, LowRank, PerChannel

EVALUATIONS, TOKENS, WIDTH = 8, 300, 6
RUNS = torch.arange(4).repeat_interleave(TOKENS // 4)


def walk(seed=0):
    """States that go a random way, [evaluations, tokens, width]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(EVALUATIONS, TOKENS, WIDTH, generator=generator).cumsum(dim=0)


def noise(like, size, seed=1):
    return size * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def test_a_factor_per_channel_is_found_and_no_dearer_map_is_taken():
    states = walk()
    scale = torch.tensor([0.5, -1.0, 0.0, 2.0, 0.1, 1.0])
    found = fit_map(states, 3 + states * scale + noise(states, 0.01), RUNS)
    assert isinstance(found.linear, PerChannel)
    torch.testing.assert_close(found.linear.scale, scale, atol=0.01, rtol=0.01)
    assert found.explained > 0.999


def test_a_map_of_low_rank_is_found():
    states = walk()
    up, down = torch.randn(WIDTH, 2), torch.randn(2, WIDTH)
    found = fit_map(states, states @ down.T @ up.T + noise(states, 0.05), RUNS, rank=2)
    assert isinstance(found.linear, LowRank)
    h = torch.randn(5, WIDTH)
    torch.testing.assert_close(found.linear(h), h @ down.T @ up.T, atol=0.05, rtol=0.05)
    assert found.explained > 0.95


def test_a_full_matrix_is_found_and_may_be_forbidden():
    states, matrix = walk(), torch.linalg.qr(noise(torch.empty(WIDTH, WIDTH), 1.0, seed=2))[0]
    residuals = states @ matrix.T + noise(states, 0.01)
    found = fit_map(states, residuals, RUNS, rank=2)
    assert isinstance(found.linear, Full)
    torch.testing.assert_close(found.linear.matrix, matrix, atol=0.02, rtol=0.02)
    assert not isinstance(fit_map(states, residuals, RUNS, rank=2, dense=False).linear, Full)


def test_sums_over_increments_are_kept_once(monkeypatch):
    """Of a model 3072 wide a single one takes 150 MB, and there are dozens."""
    alive, most, sums = weakref.WeakSet(), [0], fits.Dense._sums

    def watched(dh, dr):
        found = sums(dh, dr)
        alive.add(found[0])
        most[0] = max(most[0], len(alive))
        return found

    monkeypatch.setattr(fits.Dense, "_sums", staticmethod(watched))
    assert fit_map(walk(), walk() @ torch.randn(WIDTH, WIDTH), RUNS, rank=2) is not None
    assert most[0] <= 5


@pytest.mark.parametrize("runs", [RUNS, torch.zeros(TOKENS, dtype=torch.long)])
def test_where_nothing_is_linear_there_is_no_map(runs):
    """What is fitted to noise explains it where it was fitted only."""
    states = walk()
    assert fit_map(states, noise(states, 1.0), runs) is None


SIGMAS = [1.0, 0.9, 0.75, 0.6, 0.5, 0.3, 0.2, 0.1]
COMPUTED = [1, 1, 1, 0, 1, 0, 0, 1]


def along(*functions):
    """Each in a direction of its own."""
    directions = torch.randn(len(functions), TOKENS, WIDTH, generator=torch.Generator().manual_seed(2))
    return torch.stack([sum(f(sigma) * d for f, d in zip(functions, directions, strict=True)) for sigma in SIGMAS])


@pytest.mark.parametrize(("functions", "factors"), [
    ([lambda s: 1.0], (0.0, 0.0)),
    ([lambda s: 2.0 - 3 * s], (1.0, 0.0)),
    ([lambda s: s, lambda s: s * s], (1.0, 1.0)),
])  # fmt: skip
def test_forecasts_of_what_goes_along_sigma_are_exact(functions, factors):
    residuals = along(*functions)
    found = fit_factors(residuals, residuals, SIGMAS, COMPUTED)
    assert max(found.errors) < 0.01
    assert found.factors[0] == found.factors[7] == [0.0, 0.0]
    assert found.factors[3] == pytest.approx(factors, abs=0.05)


def test_of_a_single_anchor_there_is_only_reuse():
    found = fit_factors(along(lambda s: s), along(lambda s: s), SIGMAS, [1, 0, 1, 1, 1, 1, 1, 1])
    assert found.factors[1] == [0.0, 0.0]
    assert found.errors[1] == pytest.approx(1 / 9, rel=1e-3)


def test_what_the_map_leaves_is_what_is_carried():
    states, linear = walk(), PerChannel(torch.full((WIDTH,), 0.5))
    assert left_over(states, 0.5 * states, linear).abs().max() < 1e-5
    assert left_over(states, states, None) is states
