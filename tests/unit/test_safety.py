"""Self-check, memory budget, and what else makes the engine step back: it says so, and the result stays right."""

import gc
import weakref

import pytest
import torch

from fastcache_core.adapters import reach
from fastcache_core.adapters.family import Layout
from fastcache_core.adapters.wan import BLOCKS, WAN
from fastcache_core.config import BlockCacheConfig, FastCacheConfig
from fastcache_core.engine import Run
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


def evaluate_with_additions(run, blocks, sigma, img, rows):
    """One evaluation of two conditionings in which somebody adds to these rows between the first two blocks."""
    run.begin_evaluation(sigma)
    run.begin_call(["a", "bb"])
    streams = {"img": torch.cat([img, img]), "txt": toys.text_of(["a", "bb"], img)}
    for index, block in enumerate(blocks):
        if index == 1:
            streams["img"] = streams["img"].clone()
            streams["img"][rows] += 1.0
        streams = run.run_block(toys.block_call(index, block, sigma, streams))
    run.end_evaluation()
    return streams["img"]


def test_what_is_added_to_one_conditioning_only_is_noticed():
    blocks, states = [toys.add(1.0), toys.add(2.0), toys.add(3.0)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0)
    for sigma, img in zip(SIGMAS[:-1], states, strict=True):
        out = evaluate_with_additions(run, blocks, sigma, img, slice(1, 2))
    torch.testing.assert_close(out, torch.cat([states[-1] + 6.0, states[-1] + 7.0]))
    assert run.report.run["level"] == "block"


def test_a_step_to_single_blocks_in_mid_run_keeps_to_the_budget_too():
    blocks, states = [toys.add(float(i)) for i in range(8)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0, memory_budget=lambda: 4 * 2 * IMAGE)  # enough for the stack of two
    for sigma, img in zip(SIGMAS[:-1], states, strict=True):
        out = evaluate_with_additions(run, blocks, sigma, img, slice(0, 2))
        torch.testing.assert_close(out, torch.cat([img, img]) + 29.0)
    assert "something adds to the hidden state" in run.report.notes[0]
    assert "FastCache is off for this run" in run.report.notes[1]
    assert run.report.cache_bytes_peak <= 4 * 2 * IMAGE


def test_the_budget_is_what_was_free_before_anything_was_kept():
    """Free memory shrinks with what is kept; that must not be held against what is kept."""
    blocks, states = [toys.add(1.0)] * 2, toys.trajectory(7)
    free = 4 * 2 * IMAGE + 10
    run = toys.make_run(blocks, SIGMAS, 1.0, memory_budget=lambda: free - run.state.nbytes)
    for i, (sigma, img) in enumerate(zip(SIGMAS[:-1], states, strict=True)):
        toys.evaluate(run, blocks, sigma, img.clone(), (("a",), ("bb",)) if i > 0 else (("a",),))
    assert run.report.computed_fraction < 1 and run.report.notes == []


def test_keys_and_values_go_when_tokens_are_given_up():
    blocks, states = [toys.attend(i, 4) for i in range(3)], toys.trajectory(7)
    for state in states:
        state[:, 2] = states[0][:, 2]
    run = toys.make_run(blocks, SIGMAS, 0.0, 1e-4, memory_budget=lambda: 3000)
    for i, (sigma, img) in enumerate(zip(SIGMAS[:-1], states, strict=True)):
        toys.evaluate(run, blocks, sigma, img.clone(), (("a",),) if i < 4 else (("a",), ("bb",), ("ccc",)))
    assert any("partial" in text for text in run.report.reason_texts)
    assert run.report.notes[-1].startswith("Tokens are not selected")
    assert not any(branch.keys_values for branch in run.state.branches.values())


def test_half_precision_that_overflows_heals_and_is_never_handed_out():
    """One channel swings from end to end of what float16 holds: its differences do not fit."""

    def block(streams, sigma, attending):
        swing = 60000.0 if round(sigma * 10) % 2 else -60000.0
        return {name: torch.full_like(h, 1.0).index_fill_(2, torch.tensor([0]), swing) for name, h in streams.items()}

    states = [img.half() for img in toys.trajectory(7)]
    run = toys.make_run([block], SIGMAS, 10.0, rule="interval", interval=2, forecast=None)
    outputs = sample(run, [block], states)
    assert 0 in computed(run)
    assert all(out["cond"].isfinite().all() for out in outputs)


def test_nothing_passes_once_the_evaluation_is_over():
    blocks, states = [toys.add(1.0), toys.add(2.0)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0)
    for sigma, img in zip(SIGMAS[:3], states, strict=False):
        toys.evaluate(run, blocks, sigma, img)
    assert computed(run)[2] == 0 and not run.passes(1)


def test_a_stream_that_changes_its_size_is_left_out():
    def block(streams, sigma, attending):
        return {"img": streams["img"] + 1.0, "txt": streams["txt"][:, :1]}

    run = toys.make_run([block, toys.add(1.0)], SIGMAS, 1.0, level="block")
    for sigma, img in zip(SIGMAS[:-1], toys.trajectory(7), strict=True):
        out = toys.evaluate(run, [block, toys.add(1.0)], sigma, img.clone())["cond"]
        torch.testing.assert_close(out, img + 2.0)


@pytest.mark.parametrize("level", ["block", "span", "stack"])
def test_a_last_block_that_returns_no_text(level):
    def last(streams, sigma, attending):
        return {"img": streams["img"] + 1.0}

    blocks = [toys.add(1.0), toys.add(2.0), last]
    run = toys.make_run(blocks, SIGMAS, 1.0, level=level)
    for sigma, img in zip(SIGMAS[:-1], toys.trajectory(7), strict=True):
        out = toys.evaluate(run, blocks, sigma, img.clone())["cond"]
        torch.testing.assert_close(out, img + 4.0)
    assert 0 in computed(run)


def test_no_tokens_at_all_are_left_alone():
    run = toys.make_run([toys.add(1.0)], SIGMAS, 1.0, 0.1)
    for sigma in SIGMAS[:-1]:
        assert toys.evaluate(run, [toys.add(1.0)], sigma, torch.zeros(1, 0, 4))["cond"].shape == (1, 0, 4)


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


def test_a_conditioning_that_comes_when_memory_is_spent_costs_no_image():
    """What was measured before the run is switched off is still to be read."""
    blocks, states = [toys.add(1.0), toys.add(2.0)], toys.trajectory(9)
    sigmas = [1 - i / 9 for i in range(9)] + [0.0]
    run = toys.make_run(blocks, sigmas, 0.5, level="stack", max_consecutive_skips=1, memory_budget=lambda: 3 * IMAGE)
    for i, (sigma, img) in enumerate(zip(sigmas[:-1], states, strict=True)):
        calls = (("a",),) if i < 5 else (("a",), ("b",))
        for out in toys.evaluate(run, blocks, sigma, img.clone(), calls).values():
            torch.testing.assert_close(out, img + 3.0)
    run.finish()
    assert run.report.notes[-1].startswith("FastCache is off for this run:")


def test_lists_of_blocks_that_take_turns_are_predicted_block_by_block():
    blocks = [toys.add(10.0**i) for i in range(4)]
    config = FastCacheConfig(BlockCacheConfig(rule="interval", interval=9, min_steps=1, max_consecutive_skips=9))
    run = Run(config, [f"block {i}" for i in range(4)], [(0, 1), (2, 3)], SIGMAS, joined=False)
    for sigma, img in zip(SIGMAS[:-1], toys.trajectory(7), strict=True):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        streams = {"img": img.clone(), "txt": toys.text_of(["cond"], img)}
        for i in (0, 2, 1, 3):
            streams = run.run_block(toys.block_call(i, blocks[i], sigma, streams))
        run.end_evaluation()
        torch.testing.assert_close(streams["img"], img + 1111)
    assert run.report.notes == ["Blocks are predicted one by one: blocks of several lists take turns."]
    assert computed(run) == [1, 1, 1, 0, 0, 0, 1]


def test_what_a_block_was_given_is_free_once_its_call_is_over():
    """Without the garbage collector: of a long video, the inputs of a few dozen block calls are gigabytes."""
    gc.disable()
    try:
        inputs = []
        for _ in range(20):
            given = {"img": torch.zeros(1, 8, 4), "transformer_options": {}}
            reach.block_call(WAN, BLOCKS, 0, Layout((1, 1, 8), 0, 8, False), given, lambda edited, cut: edited)
            inputs.append(weakref.ref(given["img"]))
            del given
        assert sum(each() is not None for each in inputs) == 0
    finally:
        gc.enable()
