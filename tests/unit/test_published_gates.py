"""Methods that decide while they sample, against loops written as their papers have them."""

import math

import numpy as np
import pytest
import torch

from fastcache_core.calibration.curves import change_polynomial, magnitude, sensitivities
from fastcache_core.curves import OF_STATE, OF_TIME, POLYNOMIAL
from fastcache_core.policies import OF_SITE
from fastcache_core.presets import PRESETS

from . import published as p
from . import toys

XS = p.states(speed=0.04)
KNOWN = p.profile(XS, p.SIGMAS)
ENTRIES, _, WHOLE = p.recorded(XS, p.SIGMAS)
CHANGES = p.neighbours(XS)


def gated(decide, begun: int, published=p.stack, always: int = 0):
    """Sampling with residual reuse. decide(e, x, sigma, anchor) says whether to compute at evaluation e, anchor being
    what it is told at the last computed one; the first `begun` and the last always are. always: blocks that always are.
    """
    outputs, computed, residual, anchor = [], [], None, None
    for e, (x, sigma) in enumerate(zip(XS, p.SIGMAS, strict=False)):
        wants, anchor_now = decide(e, x, sigma, anchor)
        full = e < begun or e == p.LAST or wants
        h = x
        for f in p.F[:always]:
            h = h + f(h, sigma)
        if full:
            anchor, residual = anchor_now, published(x, sigma) + x - h
        outputs.append(h + residual)
        computed.append([1] * always + [int(full)] * (p.DEPTH - always))
    return outputs, computed


@pytest.mark.parametrize("threshold", [0.12, 0.3])
def test_first_block_cache(threshold):
    """Compute the first block; reuse the rest while its residual is within the threshold of the last computed one."""

    def decide(e, x, sigma, anchor):
        first = p.F[0](x, sigma)
        return anchor is None or p.l1rel(first, anchor) > threshold, first

    p.assert_same(p.run("First-Block Cache", XS, strength=threshold), gated(decide, 1, always=1))


@pytest.mark.parametrize("threshold", [0.25, 0.4])
def test_dicache(threshold):
    """Changes of the probe add up; y = x + r_b + g (r_a - r_b), g = |p - p_b| / |p_a - p_b| clipped to 1 ... 1.5."""
    outputs, computed, anchors, probe, moved, gammas = [], [], [], None, 0.0, []
    for e, (x, sigma) in enumerate(zip(XS, p.SIGMAS, strict=False)):
        now = p.F[0](x, sigma)
        moved += p.l1rel(now, probe) if e else 0.0
        probe, h = now, x + now
        full = e < 2 or e == p.LAST or moved > threshold
        if full:
            residual = p.stack(x, sigma) - now
            anchors, moved = [(residual, now), *anchors][:2], 0.0
        else:
            (r_a, p_a), (r_b, p_b) = anchors
            gammas.append(min(max(((now - p_b).abs().mean() / (p_a - p_b).abs().mean()).item(), 1.0), 1.5))
            residual = r_b + gammas[-1] * (r_a - r_b)
        outputs.append(h + residual)
        computed.append([1] + [int(full)] * (p.DEPTH - 1))
    p.assert_same(p.run("DiCache", XS, strength=threshold), (outputs, computed))
    assert any(1 < gamma < 1.5 for gamma in gammas), "the alignment was always clipped"


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_teacache(threshold):
    """Changes of the input, through the fitted polynomial, add up until the threshold is passed."""
    rescale, moved = np.poly1d(KNOWN.curves.coefficients[POLYNOMIAL]), [0.0]

    def decide(e, x, sigma, anchor):
        moved[0] += rescale(CHANGES[e])
        full = e in (0, p.LAST) or moved[0] > threshold
        moved[0] *= not full
        return full, e

    p.assert_same(p.run("TeaCache", XS, known=KNOWN, strength=threshold), gated(decide, 1))


@pytest.mark.parametrize(("threshold", "skips"), [(0.12, 99), (0.4, 2)])
def test_magcache(threshold, skips):
    """gamma_t = mean |r_t| / |r_t-1|; R is their product since the last computed step; |1 - R| adds up, K in a row."""
    sizes = WHOLE.norm(dim=-1)
    gamma = [1.0, *(sizes[1:] / sizes[:-1]).mean(dim=1).tolist()]
    state = {"R": 1.0, "E": 0.0, "N": 0}

    def decide(e, x, sigma, anchor):
        ratio = state["R"] * gamma[e]
        off = state["E"] + abs(1 - ratio)
        full = e < 3 or e == p.LAST or off > threshold or state["N"] == skips
        state.update({"R": 1.0, "E": 0.0, "N": 0} if full else {"R": ratio, "E": off, "N": state["N"] + 1})
        return full, e

    p.assert_same(p.run("MagCache", XS, known=KNOWN, strength=threshold, skips=skips), gated(decide, 3))


@pytest.mark.parametrize("threshold", [0.1, 0.3])
def test_easycache(threshold):
    """k = change of the output over change of the input, at the last computed step; k |dx| / |x| adds up."""
    state = {"k": None, "moved": 0.0, "last": None}

    def decide(e, x, sigma, anchor):
        state["moved"] += p.l2rel(x, XS[e - 1]) if e else 0.0
        full = e < 2 or e == p.LAST or state["k"] * state["moved"] > threshold
        if full:
            now = p.stack(x, sigma)
            if e:
                state["k"] = ((now - state["last"]).norm() / now.norm()).item() / state["moved"]
            state.update(last=now, moved=0.0)
        return full, e

    p.assert_same(p.run("EasyCache", XS, strength=threshold), gated(decide, 2))


@pytest.mark.parametrize("threshold", [0.1, 0.25])
def test_sencache(threshold):
    """S = J_x |x - x_c| / |x_c| + J_t |t - t_c|, with the sensitivities of the last computed step."""
    of_state, of_time = KNOWN.curves.values[OF_STATE], KNOWN.curves.values[OF_TIME]

    def decide(e, x, sigma, anchor):
        if anchor is None:
            return True, (e, x, sigma)
        c, x_c, sigma_c = anchor
        return of_state[c] * p.l2rel(x, x_c) + of_time[c] * abs(sigma - sigma_c) > threshold, (e, x, sigma)

    p.assert_same(p.run("SenCache", XS, known=KNOWN, strength=threshold), gated(decide, 3))


def test_lazydit_skips_while_the_state_is_where_it_was():
    """A gate on the input, with one feature: how far it is from where the sub-layers last ran."""

    def decide(e, x, sigma, anchor):
        return anchor is None or p.l2rel(x, anchor) > 0.1, x

    outputs, computed, cache, x_c = [], [], {}, None
    for e, (x, sigma) in enumerate(zip(XS, p.SIGMAS, strict=False)):
        full = e in (0, p.LAST) or p.l2rel(x, x_c) > 0.1
        x_c = x if full else x_c
        for layer, f in enumerate(p.F):
            cache[layer] = f(x, sigma) if full else cache[layer]
            x = x + cache[layer]
        outputs.append(x)
        computed.append([int(full)] * p.DEPTH)
    p.assert_same(p.run("LazyDiT", XS), (outputs, computed))


def test_fastcache_as_published_tests_the_change_of_each_step_against_the_chi_square_bound():
    """delta^2 <= chi2 / (n d) with W h + b for the block, b such that the last computed evaluation is met."""
    fast = [x * (1 + 0.02 * e + 1.2 * (e % 5 == 0)) for e, x in enumerate(p.states())]
    known, outputs, computed, cache = p.profile(fast, p.SIGMAS), [], [], {}
    elements = fast[0][0].numel()
    # Wilson and Hilferty's approximation of the 95 % quantile.
    bound = math.sqrt((1 - 2 / (9 * elements) + 1.6449 * math.sqrt(2 / (9 * elements))) ** 3)
    for e, (x, sigma) in enumerate(zip(fast, p.SIGMAS, strict=False)):
        full = e < 2 or e == p.LAST or p.l2rel(x, fast[e - 1]) > bound
        for layer, f in enumerate(p.F):
            scale = known.linear[layer, layer, "img"].scale
            if full:
                y = f(x, sigma)
                cache[layer] = y - scale * x
            x = x + scale * x + cache[layer]
        outputs.append(x)
        computed.append([int(full)] * p.DEPTH)
    p.assert_same(p.run("FastCache (paper)", fast, known=known, threshold=0.0), (outputs, computed))


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.needs == "curves"])
def test_without_its_curve_everything_is_computed(name):
    _, computed = p.run(name, XS)
    assert all(all(row) for row in computed)


@pytest.mark.parametrize("rule", OF_SITE)
def test_the_device_is_waited_for_once_an_evaluation(rule):
    run = toys.make_run(p.BLOCKS, p.SIGMAS, 0.2, rule=rule, predictor="aligned", level="stack")
    for x, sigma in zip(XS, p.SIGMAS, strict=False):
        toys.evaluate(run, p.BLOCKS, torch.tensor(sigma), x.clone(), (("a",), ("b",)))
    assert run.decider.synchronisations == p.EVALUATIONS


# Fits.


def test_ratios_are_the_mean_over_tokens_of_sizes_of_neighbours():
    residuals = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[6.0, 8.0], [1.0, 0.0]], [[6.0, 8.0], [0.0, 3.0]]])
    assert magnitude(residuals) == pytest.approx([1.0, (2 + 0.5) / 2, (2 + 0.5) / 2 * (1 + 3) / 2])


def test_a_polynomial_relation_of_changes_is_found():
    """Entries that grow by a factor 1 + c change by c; residuals are made to change by 0.5 c + 2 c^2."""
    changes = np.linspace(0.05, 0.5, 12)
    states, residuals = [torch.ones(3, 4)], [torch.ones(3, 4)]
    for c in changes:
        states.append(states[-1] * (1 + c))
        residuals.append(residuals[-1] * (1 + 0.5 * c + 2 * c**2))
    found = change_polynomial(torch.stack(states).double(), torch.stack(residuals).double())
    assert np.polyval(found, changes) == pytest.approx(0.5 * changes + 2 * changes**2, rel=1e-4)


@pytest.mark.parametrize(("of_state", "of_time"), [(1.5, 0.0), (0.0, 0.7)])
def test_sensitivities_tell_state_and_sigma_apart(of_state, of_time):
    """A residual that follows the state only, or sigma only, along a path where both move."""
    sigmas = [1.0, 0.9, 0.7, 0.4, 0.35, 0.2, 0.05]
    start, direction = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    places = [0.0, 0.1, 0.11, 0.3, 0.2, 0.21, 0.4]
    states = torch.stack([start + place * direction for place in places])
    residuals = torch.stack(
        [
            of_state * h if of_state else start * (1 + of_time * (1 - sigma))
            for h, sigma in zip(states, sigmas, strict=True)
        ]
    )
    found_state, found_time = sensitivities(states, residuals, sigmas)
    if of_state:
        assert found_state == pytest.approx([1.0] * 7, rel=1e-6) and found_time == pytest.approx([0.0] * 7, abs=1e-6)
    else:
        assert found_state == pytest.approx([0.0] * 7, abs=1e-6)
        assert found_time[0] == pytest.approx(0.7, rel=1e-6)


def test_no_sensitivity_is_negative():
    generator = torch.Generator().manual_seed(3)
    states, residuals = torch.randn(2, 9, 4, 3, generator=generator)
    for curve in sensitivities(states, residuals, [1 - e / 9 for e in range(9)]):
        assert min(curve) >= 0 and len(curve) == 9
