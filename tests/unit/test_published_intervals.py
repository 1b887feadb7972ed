"""Methods that compute every so manyth evaluation, against loops written as their papers have them."""

import pytest

from . import published as p

XS = p.states()


def due(e: int, interval: int, warmup: int = 1) -> bool:
    """FORA's `step % N == 0`, counted from the last of the steps that always are computed; so is the very last."""
    return e < warmup or (e - warmup + 1) % interval == 0 or e == p.LAST


@pytest.mark.parametrize("interval", [2, 3, 5])
def test_fora_reuses_what_attention_and_mlp_gave(interval):
    cache, outputs, computed = {}, [], []
    for e, (x, sigma) in enumerate(zip(XS, p.SIGMAS, strict=False)):
        for layer, f in enumerate(p.F):
            if e % interval == 0 or e == p.LAST:
                cache[layer] = f(x, sigma)
            x = x + cache[layer]
        outputs.append(x)
        computed.append([int(e % interval == 0 or e == p.LAST)] * p.DEPTH)
    p.assert_same(p.run("FORA", XS, strength=interval), (outputs, computed))


def test_goc_goes_on_along_the_last_difference_of_the_cache():
    """y = c + eta (c - c'), c and c' the last two things cached, eta = 1.2, every other step."""
    cache, before, outputs, computed = {}, {}, [], []
    for e, (x, sigma) in enumerate(zip(XS, p.SIGMAS, strict=False)):
        for layer, f in enumerate(p.F):
            if due(e, 2, warmup=2):
                before[layer] = cache.get(layer)
                cache[layer] = y = f(x, sigma)
            else:
                y = cache[layer] + 1.2 * (cache[layer] - before[layer])
            x = x + y
        outputs.append(x)
        computed.append([int(due(e, 2, warmup=2))] * p.DEPTH)
    p.assert_same(p.run("GOC", XS), (outputs, computed))


@pytest.mark.parametrize("interval", [3, 4])
def test_taylorseer_is_the_papers_series_where_sigmas_are_even(interval):
    """F(t + k) = sum over i of D^i F / (i! N^i) k^i, with D F the difference of features N steps apart, order 2."""
    features, outputs, computed = {layer: [] for layer in range(p.DEPTH)}, [], []
    for e, (x, sigma) in enumerate(zip(XS, p.EVEN, strict=False)):
        full = due(e, interval, warmup=3)
        for layer, f in enumerate(p.F):
            known = features[layer]
            if full:
                y = f(x, sigma)
                known.append((e, y))
            else:
                (t, y0), (t1, y1), (t2, y2) = known[:-4:-1]
                first, earlier = (y0 - y1) / (t - t1), (y1 - y2) / (t1 - t2)
                second = (first - earlier) / (t - t1)
                y = y0 + first * (e - t) + second * (e - t) ** 2 / 2
            x = x + y
        outputs.append(x)
        computed.append([int(full)] * p.DEPTH)
    p.assert_same(p.run("TaylorSeer", XS, p.EVEN, strength=interval), (outputs, computed))


def test_increment_calibrated_caching_corrects_by_a_low_rank_map_of_the_increment():
    """y_t = y_c + U V (x_t - x_c), every other step."""
    known = p.profile(XS, p.SIGMAS, rank=2)
    cache, outputs, computed = {}, [], []
    for e, (x, sigma) in enumerate(zip(XS, p.SIGMAS, strict=False)):
        for layer, f in enumerate(p.F):
            if e % 2 == 0 or e == p.LAST:
                cache[layer] = x, f(x, sigma)
            x_c, y_c = cache[layer]
            a = known.linear[layer, layer, "img"]
            x = x + y_c + (x - x_c) @ (a.up @ a.down).T
        outputs.append(x)
        computed.append([int(e % 2 == 0 or e == p.LAST)] * p.DEPTH)
    p.assert_same(p.run("Increment-calibrated", XS, known=known), (outputs, computed))
