import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcache_core.calls import BlockCall
from fastcache_core.response import euler
from fastcache_core.tokens import Span

from . import toys

SIGMAS = [1.0, 0.9, 0.7, 0.6, 0.4, 0.3, 0.1, 0.0]


def plain(blocks, sigma, img, key="cond"):
    streams = {"img": img.clone(), "txt": toys.text_of([key], img)}
    for block in blocks:
        streams = block(streams, sigma, None)
    return streams["img"]


def computed(run):
    return [row[0] for row in run.report.to_json()["computed"]]


def sample(run, blocks, states, calls=(("cond",),)):
    steps = zip(SIGMAS[:-1], states, strict=True)
    return [toys.evaluate(run, blocks, sigma, img.clone(), calls) for sigma, img in steps]


def test_threshold_zero_computes_everything_bit_for_bit():
    blocks, states = [toys.attend(0, 4), toys.attend(1, 4)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS)
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states), strict=True):
        assert torch.equal(out["cond"], plain(blocks, sigma, img))
    assert run.report.computed_fraction == 1


@pytest.mark.parametrize("level", ["block", "stack"])
@pytest.mark.parametrize("blocks", [[toys.add(1.0), toys.add(-3.0)], [toys.add_sigma(2.0), toys.add_sigma(5.0)]])
def test_a_residual_the_predictor_knows_is_predicted_exactly(blocks, level):
    states = toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, block_threshold=1.0, level=level, max_consecutive_skips=2)
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states), strict=True):
        torch.testing.assert_close(out["cond"], plain(blocks, sigma, img))
    assert computed(run) == [1, 1, 0, 0, 1, 0, 1]  # warm-up 2, two skips in a row, the last evaluation computed
    assert run.report.computed_fraction == pytest.approx(4 / 7)


def test_forced_prediction_on_identical_input_equals_computing():
    blocks = [toys.attend(i, 8) for i in range(3)]
    img = toys.trajectory(1, samples=2, width=8)[0]
    run = toys.make_run(blocks, [1.0] * 5, block_threshold=1.0, level="block", warmup_evaluations=1)
    run.decider.ending = 0
    first = toys.evaluate(run, blocks, 1.0, img.clone())["cond"]
    second = toys.evaluate(run, blocks, 1.0, img.clone())["cond"]
    assert computed(run) == [1, 0]
    torch.testing.assert_close(second, first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("thresholds", [{"block_threshold": 1.0}, {"token_threshold": 1.0}])
def test_a_stream_without_tokens_is_handed_on(thresholds):
    states, blocks = toys.trajectory(7), [toys.add(1.0), toys.add(-3.0)]
    run = toys.make_run(blocks, SIGMAS, level="block", selector={"context": "active_tokens"}, **thresholds)
    for sigma, img in zip(SIGMAS[:-1], states, strict=True):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        streams = {"img": img.clone(), "txt": img[:, :0].clone()}
        for index, block in enumerate(blocks):
            whole = Span(0, img.shape[1], img.shape[1])
            call = BlockCall(index, streams, ("img", whole), whole, lambda s, a, block=block: block(s, 0.0, a))
            streams = run.run_block(call)
        run.end_evaluation()
        torch.testing.assert_close(streams["img"], img - 2)
        assert streams["txt"].shape == img[:, :0].shape
    assert run.report.computed_fraction < 1


@pytest.mark.parametrize("level", ["block", "stack"])
def test_blocks_that_come_again_in_one_call_are_kept_apart(level):
    """As in models that cut a long sound into windows."""
    blocks, windows = [toys.attend(i, 8) for i in range(3)], toys.trajectory(2, width=8)
    run = toys.make_run(blocks, [1.0] * 5, block_threshold=1.0, level=level, warmup_evaluations=1)
    run.decider.ending = 0
    outputs = []
    for _ in range(2):
        run.begin_evaluation(1.0)
        run.begin_call(["cond"])
        for window in windows:
            streams = {"img": window.clone(), "txt": toys.text_of(["cond"], window)}
            for index, block in enumerate(blocks):
                streams = run.run_block(toys.block_call(index, block, 1.0, streams))
            outputs.append(streams["img"])
        run.end_evaluation()
    assert computed(run) == [1, 0]
    for first, again in zip(outputs[:2], outputs[2:], strict=True):
        torch.testing.assert_close(again, first, rtol=1e-5, atol=1e-6)


def test_change_accumulates_until_the_threshold():
    states = [torch.full((1, 6, 4), 1.0 + 0.1 * i) for i in range(7)]
    run = toys.make_run([toys.add(1.0)], SIGMAS, block_threshold=0.2, max_consecutive_skips=9)
    sample(run, [toys.add(1.0)], states)
    report = run.report.to_json()
    changes = [row[0] for row in report["change"]]
    assert changes[0] is None
    assert changes[2] == pytest.approx(0.1 / 1.1, abs=1e-4)
    assert changes[3] == pytest.approx(0.1 / 1.1 + 0.1 / 1.2, abs=1e-4)
    assert changes[4] == pytest.approx(changes[3] + 0.1 / 1.3, abs=1e-4)
    assert computed(run) == [1, 1, 0, 0, 1, 0, 1]
    assert "change above 0.2" in report["reason_texts"][report["reasons"][4][0]]


CUTS = [(("a", "bb"),), (("bb", "a"),), (("a",), ("bb",)), (("bb",), ("a",))]


@given(st.lists(st.sampled_from(CUTS), min_size=7, max_size=7))
@settings(max_examples=30)
def test_batched_split_and_changing_batches_give_the_same_result(cuts):
    blocks, states = [toys.attend(0, 4), toys.add_sigma(1.0)], toys.trajectory(7, samples=2)
    reference = sample(toys.make_run(blocks, SIGMAS, 0.5), blocks, states, (("a",), ("bb",)))
    run = toys.make_run(blocks, SIGMAS, 0.5)
    for sigma, img, calls, wanted in zip(SIGMAS[:-1], states, cuts, reference, strict=True):
        got = toys.evaluate(run, blocks, sigma, img.clone(), calls)
        for key in ("a", "bb"):
            torch.testing.assert_close(got[key], wanted[key], rtol=1e-5, atol=1e-5)


def test_a_branch_seen_for_the_first_time_is_computed():
    blocks, states = [toys.attend(0, 4)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, block_threshold=1.0)
    for i, (sigma, img) in enumerate(zip(SIGMAS[:-1], states, strict=True)):
        calls = (("a",),) if i < 2 else (("a",), ("late",))
        out = toys.evaluate(run, blocks, sigma, img.clone(), calls)
        if i == 2:
            torch.testing.assert_close(out["late"], plain(blocks, sigma, img, "late"))
    assert computed(run)[2] == 0.5


def test_a_new_size_in_the_middle_of_a_run_is_computed():
    blocks = [toys.attend(0, 4)]
    run = toys.make_run(blocks, SIGMAS, block_threshold=1.0)
    for sigma, tokens in zip(SIGMAS[:4], (6, 6, 6, 9), strict=True):
        img = toys.trajectory(1, tokens=tokens)[0]
        out = toys.evaluate(run, blocks, sigma, img.clone())["cond"]
        if tokens == 9:
            torch.testing.assert_close(out, plain(blocks, sigma, img))
    assert computed(run) == [1, 1, 0, 1]


def test_a_branch_in_another_mode_is_computed_and_begins_anew():
    """As where the guidance that came before another one ends, whose place it takes then."""
    blocks, other, states = [toys.add(1.0)], [toys.add(5.0)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, block_threshold=1.0, max_consecutive_skips=9)
    for i, (sigma, img) in enumerate(zip(SIGMAS[:-1], states, strict=True)):
        here, mode = (blocks, "first") if i < 3 else (other, "second")
        out = toys.evaluate(run, here, sigma, img.clone(), mode=mode)["cond"]
        torch.testing.assert_close(out, plain(here, sigma, img))
    assert computed(run) == [1, 1, 0, 1, 0, 0, 1]
    assert "computed: this conditioning is new, was left out before, or changed" in run.report.reason_texts


@pytest.mark.parametrize(("own", "predicted"), [("0: 0", False), ("", True)])
def test_evaluations_of_which_a_part_is_computed_are_not_corrected(own, predicted):
    blocks, told = [toys.add(1.0), toys.add(-3.0)], []
    run = toys.make_run(blocks, SIGMAS, block_threshold=1.0, level="block", block_thresholds=own)
    run.know_sampler(euler(SIGMAS))
    run.corrector.correct = lambda x, sigma, denoised, predicted, guidance: told.append(predicted) or denoised
    for sigma, img in zip(SIGMAS[:-1], toys.trajectory(7), strict=True):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        streams = {"img": img.clone(), "txt": toys.text_of(["cond"], img)}
        for index, block in enumerate(blocks):
            streams = run.run_block(toys.block_call(index, block, sigma, streams))
        run.corrected(img, img)
        run.end_evaluation()
    assert run.report.computed_fraction < 1
    assert any(told) == predicted


def test_where_sigmas_rise_the_last_evaluation_is_the_one_that_ends_the_schedule():
    rising, blocks = [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.9, 1.0], [toys.add(1.0)]
    run = toys.make_run(blocks, rising, block_threshold=1.0, max_consecutive_skips=9)
    for sigma, img in zip(rising[:-1], toys.trajectory(7), strict=True):
        toys.evaluate(run, blocks, sigma, img.clone())
    assert computed(run) == [1, 1, 0, 0, 0, 0, 1]


def test_one_synchronisation_per_evaluation():
    blocks, states = [toys.attend(i, 4) for i in range(3)], toys.trajectory(7)
    for thresholds in ((0.5, 0.0), (0.0, 1e-4), (0.05, 1e-4)):
        run = toys.make_run(blocks, SIGMAS, *thresholds)
        sample(run, blocks, states, (("a", "bb"),))
        assert run.decider.synchronisations == 6  # the first evaluation has nothing to read: sigma is a number here


def test_a_sigma_on_the_device_is_read_with_everything_else():
    blocks, states = [toys.attend(0, 4), toys.attend(1, 4)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 0.5)
    for sigma, img in zip(SIGMAS[:-1], states, strict=True):
        toys.evaluate(run, blocks, torch.tensor(sigma), img, (("a",), ("bb",)))
    assert run.decider.synchronisations == 7
    assert run.report.to_json()["run"]["sigmas"] == pytest.approx(SIGMAS[:-1])


@pytest.mark.parametrize("thresholds", [(0.5, 0.0), (0.0, 1e-3)])
@pytest.mark.parametrize("level", ["stack", "block"])
def test_nothing_handed_out_is_kept_and_nothing_given_is_written(thresholds, level):
    blocks, states = [toys.attend(0, 4), toys.attend(1, 4)], toys.trajectory(7)
    reference = sample(toys.make_run(blocks, SIGMAS, *thresholds, level=level), blocks, states)
    run = toys.make_run(blocks, SIGMAS, *thresholds, level=level)
    for sigma, img, wanted in zip(SIGMAS[:-1], states, reference, strict=True):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        streams = {"img": img.clone(), "txt": toys.text_of(["cond"], img)}
        for index, block in enumerate(blocks):
            versions = {name: h._version for name, h in streams.items()}
            given, streams = streams, run.run_block(toys.block_call(index, block, sigma, streams))
            assert {name: h._version for name, h in given.items()} == versions
        torch.testing.assert_close(streams["img"], wanted["cond"])
        run.end_evaluation()
        for h in streams.values():
            h.fill_(float("nan"))  # a ControlNet or another pack may write into what the last block returned


def test_partial_with_every_token_active_equals_computing():
    """Sample 0 changes everywhere, sample 1 nowhere: the call is partial, but all of sample 0's tokens are active."""
    blocks = [toys.attend(0, 4), toys.attend(1, 4)]
    states = toys.trajectory(7, samples=2)
    for i, state in enumerate(states):
        state[0] += i
        state[1] = states[0][1]
    run = toys.make_run(blocks, SIGMAS, token_threshold=1e-4, selector={"refresh_interval": 100})
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states, (("a", "bb"),)), strict=True):
        torch.testing.assert_close(out["bb"][0], plain(blocks, sigma, img, "bb")[0], rtol=1e-5, atol=1e-5)
    assert any("partial" in text for text in run.report.reason_texts)


def test_static_tokens_stay_keys_and_values_and_active_ones_are_exact():
    """Only token 3 moves: computing it against the other tokens' old keys and values is then exact."""
    block = toys.attend(0, 4)
    base = toys.trajectory(1)[0]
    states = [base.clone() for _ in range(7)]
    for i, state in enumerate(states):
        state[0, 3] += i
    run = toys.make_run([block], [0.5] * 8, token_threshold=1e-3, selector={"refresh_interval": 100})
    run.decider.ending = 0
    for state in states:
        out = toys.evaluate(run, [block], 0.5, state.clone())["cond"]
        wanted = plain([block], 0.5, state)
        torch.testing.assert_close(out[0, 3], wanted[0, 3], rtol=1e-5, atol=1e-5)
    assert computed(run)[2:] == pytest.approx([1 / 6] * 5, abs=1e-3)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_a_batch_with_tokens_chosen_per_sample_equals_single_runs(seed):
    """One token of every sample rests, so that selection begins for all of them when it would for each."""
    blocks, states = [toys.attend(0, 4), toys.attend(1, 4)], toys.trajectory(7, samples=3, seed=seed)
    for state in states:
        state[:, 2] = states[0][:, 2]
    options = {"token_threshold": 2e-4, "selector": {"refresh_interval": 4}}
    together = sample(toys.make_run(blocks, SIGMAS, **options), blocks, states)
    for i in range(3):
        alone = sample(toys.make_run(blocks, SIGMAS, **options), blocks, [state[i : i + 1] for state in states])
        for both, one in zip(together, alone, strict=True):
            torch.testing.assert_close(both["cond"][i : i + 1], one["cond"], rtol=1e-4, atol=1e-5)


def realised(run):
    return [row[0] for row in run.report.to_json()["error_realised"]]


def test_errors_are_measured_where_some_tokens_are_computed_and_a_batch_measures_what_its_samples_give():
    """The second sample has one active token where the first has two, and repeats it."""
    block, base = toys.attend(0, 4), toys.trajectory(1, samples=2)[0]
    states = [base.clone() for _ in SIGMAS[:-1]]
    for i, state in enumerate(states):
        state[0, 2:4] += 0.1 * i**2
        state[1, 3] += 0.1 * i**2
    options = {"token_threshold": 1e-5, "selector": {"refresh_interval": 100}, "level": "block"}
    together, *alone = (toys.make_run([block], SIGMAS, **options) for _ in range(3))
    sample(together, [block], states)
    for i, run in enumerate(alone):
        sample(run, [block], [state[i : i + 1] for state in states])
    assert [round(6 * computed(run)[3]) for run in (together, *alone)] == [2, 2, 1]
    # The first has nothing to compare with, and the last one's is read when the run ends.
    measured = list(zip(*map(realised, (together, *alone)), strict=True))[1:-1]
    for both, first, second in measured:
        assert min(first, second) < both < max(first, second)  # over the size of all that was measured
    statistics = [record.errors.count for lead in together.decider.leads.values() for record in lead.sites.values()]
    assert statistics == [len(measured)]


@pytest.mark.parametrize(("others", "level"), [([], "block"), ([], "stack"), ([toys.attend(0, 4)], "stack")])
def test_tokens_are_not_selected_where_attention_cannot_be_reached(others, level):
    """Of any block of a site, whatever its others could."""
    blocks, states = [*others, toys.add_sigma(1.0)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, token_threshold=1e-3, level=level)
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states), strict=True):
        torch.testing.assert_close(out["cond"], plain(blocks, sigma, img))
    assert run.report.computed_fraction == 1
    assert "keys and values" in run.report.notes[0]


def test_a_short_schedule_is_left_alone_and_says_so():
    run = toys.make_run([toys.add(1.0)], [1.0, 0.6, 0.3, 0.1, 0.0], block_threshold=1.0, min_steps=8)
    for sigma in (1.0, 0.6, 0.3, 0.1):
        toys.evaluate(run, [toys.add(1.0)], sigma, torch.ones(1, 6, 4))
    assert run.report.computed_fraction == 1
    assert "4 steps are too few" in run.report.reason_texts[0]


def test_memory_is_counted_and_stack_level_needs_less():
    blocks, states = [toys.add(1.0)] * 4, toys.trajectory(7)
    stack, block = (toys.make_run(blocks, SIGMAS, 0.5, level=level) for level in ("stack", "block"))
    for run in (stack, block):
        sample(run, blocks, states)
    image, text = 6 * 4 * 4, toys.TEXT * 4 * 4
    # The entry state; residual and difference, of image tokens only where nothing but the head comes after.
    assert stack.report.cache_bytes_peak == image + 2 * image
    assert block.report.cache_bytes_peak == image + 2 * (3 * (image + text) + image)


def test_blocks_whose_first_was_replaced_are_computed():
    """Skip-layer guidance and the like put their own function in the place of a block: the engine never sees it."""
    blocks, states = [toys.add(1.0), toys.add(2.0), toys.add(3.0)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, block_threshold=1.0, max_consecutive_skips=9)
    for i, (sigma, img) in enumerate(zip(SIGMAS[:-1], states, strict=True)):
        out = toys.evaluate(run, blocks, sigma, img.clone(), replaced=() if i < 3 else (0,))["cond"]
        torch.testing.assert_close(out, img + (6.0 if i < 3 else 5.0))


def test_the_model_may_run_outside_of_sampling():
    block = toys.add(1.0)
    run = toys.make_run([block], SIGMAS, block_threshold=1.0)
    call = toys.block_call(0, block, 1.0, {"img": torch.zeros(1, 6, 4), "txt": torch.zeros(1, toys.TEXT, 4)})
    assert run.run_block(call)["img"].eq(1).all()
    assert run.report.evaluations == []


@pytest.mark.parametrize("when", [0, 3])
def test_what_is_added_between_blocks_is_noticed_and_counted_once(when):
    """A pack that adds to the state between blocks would have its addition doubled by a stack's residual."""
    blocks, states = [toys.add(1.0), toys.add(2.0)], toys.trajectory(12)
    sigmas = [1 - i / 12 for i in range(12)] + [0.0]
    run = toys.make_run(blocks, sigmas, block_threshold=1.0, max_consecutive_skips=1)
    for i, (sigma, img) in enumerate(zip(sigmas[:-1], states, strict=True)):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        streams = {"img": img.clone(), "txt": toys.text_of(["cond"], img)}
        streams = run.run_block(toys.block_call(0, blocks[0], sigma, streams))
        streams["img"] = streams["img"] + (1.0 if i >= when else 0.0)
        streams = run.run_block(toys.block_call(1, blocks[1], sigma, streams))
        run.end_evaluation()
        if i > when + 2 or i < when:
            torch.testing.assert_close(streams["img"], img + (4.0 if i >= when else 3.0))
    assert run.cut.level == "block"
    assert "adds to the hidden state between blocks" in run.report.notes[0]
    assert run.decider.synchronisations == 11


def test_rows_of_predicted_evaluations_grow():
    """Whatever the threshold: one first, then two, then four."""
    block, sigmas = toys.add(1.0), [1 - i / 16 for i in range(17)]
    run = toys.make_run([block], sigmas, 10.0, rule="significance", warmup_evaluations=3, max_consecutive_skips=9)
    for sigma, img in zip(sigmas, toys.trajectory(16), strict=False):
        toys.evaluate(run, [block], sigma, img.clone())
    assert computed(run) == [1, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1]


def test_views_of_different_parts_of_the_picture_decide_for_themselves():
    """Area A stands still, area B moves: B must not be predicted because A may be."""
    block = toys.add(1.0)
    run = toys.make_run([block], SIGMAS, block_threshold=0.05, max_consecutive_skips=9)
    for i, sigma in enumerate(SIGMAS[:-1]):
        run.begin_evaluation(sigma)
        for view, img in (("a", torch.ones(1, 6, 4)), ("b", torch.ones(1, 6, 4) * (1 + i))):
            run.begin_call([view], [view])
            run.run_block(toys.block_call(0, block, sigma, {"img": img.clone(), "txt": torch.ones(1, toys.TEXT, 4)}))
        run.end_evaluation()
    assert computed(run) == [1, 1, 0.5, 0.5, 0.5, 0.5, 1]


def test_views_in_one_batch_are_decided_by_the_one_that_changes_most():
    block = toys.add(1.0)
    run = toys.make_run([block], SIGMAS, block_threshold=0.05)
    for i, sigma in enumerate(SIGMAS[:-1]):
        run.begin_evaluation(sigma)
        run.begin_call(["a", "b"], ["a", "b"])
        img = torch.cat([torch.ones(1, 6, 4), torch.ones(1, 6, 4) * (1 + i)])
        run.run_block(toys.block_call(0, block, sigma, {"img": img, "txt": torch.ones(2, toys.TEXT, 4)}))
        run.end_evaluation()
    assert computed(run) == [1] * 7


def test_a_conditioning_that_was_left_out_is_computed_when_it_comes_back():
    blocks, states = [toys.add_sigma(1.0)], toys.trajectory(9)
    sigmas = [1 - i / 9 for i in range(9)] + [0.0]
    run = toys.make_run(blocks, sigmas, block_threshold=1.0, max_consecutive_skips=1)
    shares = []
    for i, (sigma, img) in enumerate(zip(sigmas[:-1], states, strict=True)):
        calls = (("a",), ("b",)) if i < 2 or i > 4 else (("a",),)
        toys.evaluate(run, blocks, sigma, img.clone(), calls)
        shares.append(computed(run)[-1])
    assert shares == [1, 1, 0, 1, 0, 1, 0, 1, 1]
    run = toys.make_run(blocks, sigmas, block_threshold=1.0, max_consecutive_skips=3)
    for i, (sigma, img) in enumerate(zip(sigmas[:-1], states, strict=True)):
        toys.evaluate(run, blocks, sigma, img.clone(), (("a",), ("b",)) if i in (0, 7) else (("a",),))
    assert computed(run)[7] == 0.5  # a is predicted, b was last computed at the start


def test_the_last_evaluation_of_a_schedule_that_ends_early_is_computed():
    blocks, sigmas = [toys.add(1.0)], [1.0, 0.9, 0.8, 0.7, 0.6]  # the next sampler goes on from 0.6
    run = toys.make_run(blocks, sigmas, block_threshold=1.0, max_consecutive_skips=9)
    for sigma in sigmas[:-1]:
        toys.evaluate(run, blocks, sigma, torch.ones(1, 6, 4))
    assert computed(run) == [1, 1, 0, 1]


def test_calls_without_branches_are_left_alone():
    block = toys.add(1.0)
    run = toys.make_run([block], SIGMAS, block_threshold=1.0)
    run.begin_evaluation(1.0)
    run.begin_call([])
    call = toys.block_call(0, block, 1.0, {"img": torch.zeros(3, 6, 4), "txt": torch.zeros(3, toys.TEXT, 4)})
    assert run.run_block(call)["img"].eq(1).all()
    run.end_evaluation()


def test_blocks_are_left_alone_while_gradients_are_recorded():
    block, weight = toys.add_sigma(1.0), torch.ones(1, 6, 4, requires_grad=True)
    run = toys.make_run([block], SIGMAS, block_threshold=1.0)
    for sigma in SIGMAS[:3]:
        out = toys.evaluate(run, [block], sigma, weight * 2)["cond"]
        torch.testing.assert_close(out, weight * 2 + sigma)
    out.sum().backward()
    assert weight.grad is not None and run.state.nbytes == 0


def test_a_turn_that_is_begun_passes_nothing_on():
    """A host begins a turn itself where it then leaves the blocks alone."""
    blocks, states = [toys.add(1.0), toys.add(2.0)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, block_threshold=1.0)
    for sigma, img in zip(SIGMAS[:2], states[:2], strict=True):
        toys.evaluate(run, blocks, sigma, img.clone())
    run.begin_evaluation(SIGMAS[2])
    run.begin_call(["cond"])
    streams = {"img": states[2].clone(), "txt": toys.text_of(["cond"], states[2])}
    run.run_block(toys.block_call(0, blocks[0], SIGMAS[2], streams))
    assert run.passes(1) and run.comes_again(0)
    run.begin_turn()
    assert not run.passes(1) and not run.comes_again(0)
