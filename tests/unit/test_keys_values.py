"""Keys and values of tokens that are not computed: carried forward in sigma from their anchors, so that active tokens
attend to the image as it is now."""

import pytest
import torch

from fastcache_core.calls import BlockCall
from fastcache_core.config import FastCacheConfig
from fastcache_core.memory import Memory
from fastcache_core.predictors import REUSE, Forecast
from fastcache_core.profile import Profile
from fastcache_core.schedule import Schedule
from fastcache_core.sites import Cut
from fastcache_core.state import Branch, KeysValues
from fastcache_core.store import Store
from fastcache_core.tokens import Span

from . import toys

SIGMAS = [1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.2, 0.0]
TOKENS = 5
# [samples, heads, tokens, width] and [samples, tokens, width]; with one head, tokens in a row are a view.
LAYOUTS = {"heads": (2, 3, TOKENS, 4), "one head": (2, 1, TOKENS, 4), "in a row": (2, TOKENS, 12)}
ROWS = torch.tensor([[1, 3], [0, 0]])  # the second sample has one token and repeats it
ANY = torch.device("cpu")


class Elsewhere(Store):
    """Another device's memory, as far as a processor alone can have one: everything goes in and out as a copy."""

    def put(self, tensor):
        return tensor.clone()

    def get(self, kept, device):
        return kept.clone()


def linear(shape, sigma, slope):
    """Numbers that are all different and go straight in sigma."""
    start = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    return start + slope * sigma * (1 + start % 7)


def both(shape, sigma):
    return linear(shape, sigma, 2.0), linear(shape, sigma, -3.0)


def some(part, rows):
    """The given tokens of keys or values in their layout."""
    at = part.ndim - 2
    index = rows[:, None, :, None] if part.ndim == 4 else rows[..., None]
    return part.gather(at, index.expand(*part.shape[:at], rows.shape[1], part.shape[-1]))


def spoil(parts):
    for part in parts:
        part.fill_(float("nan"))


@pytest.mark.parametrize("store", [Store, Elsewhere])
@pytest.mark.parametrize("shape", LAYOUTS.values(), ids=LAYOUTS)
def test_what_is_linear_in_sigma_is_served_exactly_from_anchors_of_their_own(shape, store):
    given = [both(shape, 1.0), both(shape, 0.8)]
    table = KeysValues(*given[0], 1.0, None, 1, store())
    table.remember(*given[1], 0.8, None)
    given.append(tuple(some(part, ROWS) for part in both(shape, 0.7)))
    table.remember_rows(ROWS, *given[-1], 0.7)
    for parts in given:  # the model's own tensors: it may write into them
        spoil(parts)
    for sigma in (0.6, 0.5):
        served = table.at(sigma, Forecast(), ANY)
        torch.testing.assert_close(served, list(both(shape, sigma)))
        spoil(served)  # and what was handed out is not what is kept


@pytest.mark.parametrize("shape", LAYOUTS.values(), ids=LAYOUTS)
def test_at_the_sigma_of_the_anchors_they_are_what_was_computed(shape):
    """Bit for bit, and those that are computed again are handed on as they are now."""
    table = KeysValues(*both(shape, 1.0), 1.0, None, 1, Store())
    now = both(shape, 0.8)
    table.remember(*now, 0.8, None)
    assert all(torch.equal(a, b) for a, b in zip(table.at(0.8, Forecast(), ANY), now, strict=True))
    active = tuple(some(part, ROWS) + 100 for part in both(shape, 0.5))
    table.remember_rows(ROWS, *active, 0.5)
    for served, part in zip(table.at(0.5, Forecast(), ANY), active, strict=True):
        assert torch.equal(some(served, ROWS), part)


@pytest.mark.parametrize("forecast", [REUSE, Forecast()])
def test_without_differences_they_stay_as_they_were_and_take_half_the_memory(forecast):
    shape = LAYOUTS["heads"]
    tables = [KeysValues(*both(shape, 1.0), 1.0, None, order, Store()) for order in (0, 1)]
    for table in tables:
        table.remember(*both(shape, 0.8), 0.8, None)
    size = 2 * torch.Size(shape).numel() * 4
    assert [table.nbytes for table in tables] == [size, 2 * size]
    for table in tables:
        table.remember_rows(ROWS, *(some(part, ROWS) for part in both(shape, 0.7)), 0.7)
    sigmas = 2 * 2 * 4 * 2 * TOKENS  # of keys and of values, sigma and distance, in float32
    assert [table.nbytes for table in tables] == [size + sigmas, 2 * size + sigmas]
    for served, then in zip(tables[0].at(0.5, forecast, ANY), both(shape, 0.8), strict=True):
        assert torch.equal(served[0, :, 0], then[0, :, 0])  # a token that was not computed


def test_values_may_be_wider_or_narrower_than_keys():
    keys, values = (2, 3, TOKENS, 4), (2, 3, TOKENS, 2)
    table = KeysValues(linear(keys, 1.0, 2.0), linear(values, 1.0, 2.0), 1.0, None, 1, Store())
    served = table.at(1.0, Forecast(), ANY)
    assert torch.equal(served[0], linear(keys, 1.0, 2.0)) and torch.equal(served[1], linear(values, 1.0, 2.0))
    assert table.fits(*served) and not table.fits(served[0], served[0])


def test_large_keys_at_close_sigmas_stay_finite_in_half_precision():
    shape = LAYOUTS["in a row"]
    old, new = (torch.full(shape, value, dtype=torch.float16) for value in (-6e4, 6e4))
    table = KeysValues(old, old, 0.02, None, 1, Store())
    table.remember(new, new, 0.01, None)
    table.remember_rows(ROWS, *[some(new, ROWS)] * 2, 0.008)
    assert all(part.isfinite().all() for part in table.at(0.005, Forecast(), ANY))


def call(shape, tokens):
    span = Span(0, tokens, tokens)
    return BlockCall(0, {"img": torch.zeros(shape[0], tokens, 4)}, ("img", span), span, lambda streams, _: streams)


@pytest.mark.parametrize("mask_rows", [None, 1, 4])
@pytest.mark.parametrize("shape", LAYOUTS.values(), ids=LAYOUTS)
def test_conditionings_of_one_batch_keep_and_serve_their_own(shape, mask_rows):
    """Two of two samples each; then the second alone computes some tokens, which the first must not notice."""
    memory, branches = Memory(FastCacheConfig(), Cut([(0, 0)], "block"), None), [Branch(), Branch()]
    shape = (4, *shape[1:])
    mask = None if mask_rows is None else torch.rand(mask_rows, 1, 1, TOKENS) < 0.5
    for sigma in (1.0, 0.8):
        memory.keeper(branches, 0, sigma)(0, *both(shape, sigma), mask)
    rows = {"sequence": ROWS}
    alone = [some(part[2:], ROWS) for part in both(shape, 0.7)]
    memory.server(branches[1:], call(shape, TOKENS), rows, 0.7, Forecast())(0, *alone)
    rows = {"sequence": ROWS.repeat(2, 1)}
    again = [some(part, rows["sequence"]) for part in both(shape, 0.6)]
    *served, kept = memory.server(branches, call(shape, TOKENS), rows, 0.6, Forecast())(0, *again)
    torch.testing.assert_close(served, list(both(shape, 0.6)))
    assert (kept is None) if mask is None else torch.equal(kept, mask.expand(4, -1, -1, -1))


def attend_in_time(heads, hidden=None):
    """Attention whose keys and values go straight in sigma; heads: 0 for tokens in a row. hidden: a token nobody sees.

    Its residual is no function that prediction could meet, so only tokens that are computed are right.
    """
    weights = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(3)) / 2

    def block(streams, sigma, attending):
        x = torch.cat([streams["txt"], streams["img"]], dim=1)
        q, k, v = (x @ w for w in weights)
        k, v = k + sigma * torch.tensor([1.0, -2.0, 0.5, 3.0]), v * (1 - 2 * sigma)
        apart = (lambda h: h.unflatten(2, (heads, -1)).transpose(1, 2)) if heads else (lambda h: h)
        mask = None if hidden is None else (torch.arange(x.shape[1]) != hidden)[None, None, None]
        q, k, v = apart(q), apart(k), apart(v)
        if attending is not None and attending.serve is not None:
            k, v, mask = attending.serve(0, k, v)
        elif attending is not None and attending.keep is not None:
            attending.keep(0, k, v, mask)
        mask = mask if heads or mask is None else mask[:, 0]
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = x + (y.transpose(1, 2).flatten(2) if heads else y)
        return {"txt": y[:, : toys.TEXT], "img": y[:, toys.TEXT :]}

    return block


@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize("heads", [0, 1, 2])
@pytest.mark.parametrize("joint", [False, True])
def test_an_active_token_attends_to_the_image_as_it_is_now(heads, hidden, joint):
    """Only token 3 moves, while the others' keys and values change with sigma: computing it alone is exact, once these
    were kept twice, which begins when the others first stand still."""
    block, base = attend_in_time(heads, hidden), toys.trajectory(1)[0]
    settings = {"token_threshold": 1e-3, "selector": {"refresh_interval": 100}, "warmup_evaluations": 3}
    run = toys.make_run([block], SIGMAS, **settings)
    for i, sigma in enumerate(SIGMAS[:-1]):
        state = base.clone()
        state[0, 3] += i
        wanted = block({"img": state, "txt": toys.text_of(["cond"], state)}, sigma, None)["img"]
        if joint:
            out = toys.evaluate_joint(run, [block], sigma, state.clone())
        else:
            out = toys.evaluate(run, [block], sigma, state.clone())["cond"]
        torch.testing.assert_close(out[0, 3], wanted[0, 3], rtol=1e-5, atol=1e-5)
    assert [round(6 * row[0]) for row in run.report.to_json()["computed"]] == [6, 6, 6, 1, 1, 1, 6]


def scheduled(block, sigmas, ending=1, **settings):
    """A run over a state that stands still, by a profile that computes everything and has no factors for that."""
    schedule = Schedule(sigmas[:-1], [[1]] * (len(sigmas) - 1), [[0.0, 0.0]] * (len(sigmas) - 1))
    profile = Profile("toy", 4, ["double 0"], schedule=schedule)
    settings = {"rule": "schedule", "forecast": None, "warmup_evaluations": 0, "level": "block", **settings}
    settings["selector"] = {"refresh_interval": 3, "warmup_evaluations": 0}
    run, state = toys.make_run([block], sigmas, 1.0, 1e-3, profile=profile, **settings), toys.trajectory(1)[0]
    run.decider.ending = ending
    for sigma in sigmas[:-1]:
        toys.evaluate(run, [block], sigma, state.clone())
    return run


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_where_a_schedule_computes_tokens_that_rest_are_carried_forward_all_the_same(warmup):
    """A profile's factors are for what its mask skips; keys that go straight in sigma are not kept as they were."""
    off = []

    def block(streams, sigma, attending):
        x = torch.cat([streams["txt"], streams["img"]], dim=1)
        keys = torch.full((1, 1, toys.TEXT + 6, 4), sigma)
        if attending is not None and attending.serve is not None:
            chosen = keys[:, :, : x.shape[1]]
            off.append((attending.serve(0, chosen, chosen)[0] - sigma).abs().max().item())
        elif attending is not None and attending.keep is not None:
            attending.keep(0, keys, keys, None)
        return {name: h + sigma for name, h in streams.items()}

    sigmas = [1 - i / 10 for i in range(11)]
    scheduled(block, sigmas, warmup_evaluations=warmup)
    assert off and max(off) < 0.7 * 0.1  # of a step; so much of it is carried before a damping is known for sure


@pytest.mark.parametrize("ending", [1, 2])  # two where the corrector is at work
def test_no_token_rests_at_the_beginning_and_at_the_end_of_a_schedule(ending):
    run = scheduled(toys.attend(0, 4), [1 - i / 9 for i in range(10)], ending)
    computed = [row[0] for row in run.report.to_json()["computed"]]
    assert computed[:3] == [1, 1, 1] and computed[-ending:] == [1] * ending
    assert computed[-ending - 1] < 1


@pytest.mark.parametrize("settings", [{}, {"forecast": REUSE}, {"level": "sublayer"}, {"predictor": "linear"}])
def test_partial_on_identical_input_equals_computing(settings):
    block, state = toys.attend(0, 4), toys.trajectory(1, samples=2)[0]
    wanted = block({"img": state, "txt": toys.text_of(["cond"], state)}, 0.5, None)["img"]
    run = toys.make_run([block], SIGMAS, token_threshold=1e-3, **settings)
    for _ in SIGMAS[:-1]:
        out = toys.evaluate(run, [lambda s, _, attending: block(s, 0.5, attending)], 0.5, state.clone())["cond"]
        torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-5)
    assert any("partial" in text for text in run.report.reason_texts)
