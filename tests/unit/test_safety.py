"""Self-check, memory budget, and what else makes the engine step back: it says so, and the result stays right."""

import pytest
import torch

from fastcache_core.store import Store

from . import toys
from .test_engine import SIGMAS, computed, plain, sample


def test_a_self_check_that_fails_switches_off_for_this_run_and_says_so():
    blocks, states = [toys.attend(0, 4), toys.attend(1, 4)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0)
    keep = run.memory.remember

    def forgetful(branches, site, residuals, *rest):
        return keep(branches, site, {name: r + 0.01 for name, r in residuals.items()}, *rest)

    run.memory.remember = forgetful  # as memory that is overwritten by somebody else would do
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states), strict=True):
        assert torch.equal(out["cond"], plain(blocks, sigma, img))
    assert run.report.computed_fraction == 1 and run.report.failed
    assert run.report.notes[0].startswith("FastCache is off for this run: the self-check failed")
    assert run.state.nbytes == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_block_that_overflows_is_never_predicted(bad):
    def block(streams, sigma, attending):
        return {name: h * bad for name, h in streams.items()}

    run = toys.make_run([block], SIGMAS, 10.0)
    sample(run, [block], toys.trajectory(7))
    assert run.report.computed_fraction == 1
    assert "self-check failed" in run.report.notes[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("level", ["block", "span", "stack"])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_rounding_alone_does_not_fail_the_self_check(dtype, level, scale):
    blocks = [toys.mix(i, 8, dtype) for i in range(5)]
    states = [(img * scale).to(dtype) for img in toys.trajectory(7, width=8)]
    run = toys.make_run(blocks, SIGMAS, 10.0, rule="interval", level=level)
    sample(run, blocks, states)
    assert 0 in computed(run), run.report.notes


IMAGE, TEXT = 6 * 4 * 4, toys.TEXT * 4 * 4  # bytes of a stream
WHOLE = IMAGE + TEXT
# Residual and difference per site; the last site keeps image tokens only.
NEEDED = {"block": 2 * (7 * WHOLE + IMAGE), "span": 2 * (3 * WHOLE + IMAGE), "stack": 2 * IMAGE}


@pytest.mark.parametrize(
    ("budget", "level"),
    [
        (NEEDED["block"], "block"),
        (NEEDED["block"] - 1, "span"),
        (NEEDED["span"], "span"),
        (NEEDED["span"] - 1, "stack"),
    ],
)
def test_a_memory_budget_steps_down_in_levels_and_is_kept(budget, level):
    blocks, states = [toys.add_sigma(float(i)) for i in range(8)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0, level="block", max_consecutive_skips=2, memory_budget=lambda: budget)
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states), strict=True):
        torch.testing.assert_close(out["cond"], plain(blocks, sigma, img))
    assert computed(run) == [1, 1, 0, 0, 1, 0, 1]
    assert run.report.run["level"] == level
    assert run.report.cache_bytes_peak - IMAGE == NEEDED[level] <= budget  # beside the entry state
    notes = " ".join(run.report.notes)
    assert (f"predicted per {level}" in notes) == (level != "block")


def test_two_conditionings_need_twice_the_memory():
    blocks, states = [toys.add(1.0)] * 8, toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0, level="block", memory_budget=lambda: NEEDED["block"])
    sample(run, blocks, states, (("a", "bb"),))
    assert run.report.run["level"] == "span"
    split = toys.make_run(blocks, SIGMAS, 1.0, level="block", memory_budget=lambda: NEEDED["block"])
    sample(split, blocks, states, (("a",), ("bb",)))
    assert split.report.run["level"] == "span"
    assert split.report.computed_fraction < 1


def test_a_budget_for_nothing_switches_off_and_says_so():
    blocks, states = [toys.attend(0, 4)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0, memory_budget=lambda: 10)
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states), strict=True):
        assert torch.equal(out["cond"], plain(blocks, sigma, img))
    assert "would be kept, more than the 0.0 MB there are" in run.report.notes[0]
    assert run.state.nbytes == 0


def test_tokens_are_the_first_to_be_given_up_for_memory():
    blocks, states = [toys.attend(i, 4) for i in range(3)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0, 1e-4, memory_budget=lambda: 2 * IMAGE)
    sample(run, blocks, states)
    assert run.report.notes[0].startswith("Tokens are not selected: ")
    assert 0 in computed(run) and not any("partial" in text for text in run.report.reason_texts)


def test_a_store_gives_back_what_was_put_away():
    tensor = torch.randn(3, 4)
    for device in (None, torch.device("cpu")):
        store = Store(device)
        assert store.get(store.put(tensor), tensor.device) is tensor


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_copies_to_system_memory_overlap_and_stay_in_order():
    store, device = Store(torch.device("cpu")), torch.device("cuda")
    for i in range(20):
        tensor = torch.full((1 << 20,), float(i), device=device)
        kept = store.put(tensor)
        del tensor  # its memory may be reused at once, but not before it was copied
        torch.zeros(1 << 20, device=device).add_(-1)
        assert kept.is_pinned() and store.get(kept, device).eq(i).all()
