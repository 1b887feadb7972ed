"""The loop at every level, with every rule and predictor: exact where it must be, and nothing of others is touched."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcache_core.calls import BlockCall
from fastcache_core.config import PREDICTORS, PROBING, RULES, BlockCacheConfig, FastCacheConfig, TokenSelectorConfig
from fastcache_core.linear import PerChannel
from fastcache_core.predictors import DAMPING, REUSE, Forecast
from fastcache_core.profile import Profile
from fastcache_core.schedule import Schedule
from fastcache_core.sites import is_of_the_whole_model
from fastcache_core.tokens import Span

from . import toys
from .test_engine import SIGMAS, computed, plain, sample

BLOCK_LEVELS = ("block", "span", "stack")


def modes():
    return [(rule, level) for rule in RULES for level in BLOCK_LEVELS]


@pytest.mark.parametrize(("rule", "level"), modes())
def test_every_rule_at_every_level_predicts_a_known_residual_exactly(rule, level):
    blocks, states = [toys.add_sigma(i - 1.5) for i in range(6)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, block_threshold=10.0, rule=rule, level=level, warmup_evaluations=3)
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states), strict=True):
        torch.testing.assert_close(out["cond"], plain(blocks, sigma, img))
    rows = run.report.to_json()["computed"]
    assert all(row == [1] * 6 for row in (*rows[:3], rows[-1]))
    assert min(row[-1] for row in rows) == 0, "nothing was predicted"
    assert [row[0] for row in rows] == ([1] * 7 if rule in PROBING else [row[-1] for row in rows])


DTYPES = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", BLOCK_LEVELS)
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_forced_prediction_on_identical_input_equals_computing_within_rounding(dtype, level, predictor):
    blocks = [toys.mix(i, 8, dtype) for i in range(5)]
    img = toys.trajectory(1, samples=2, width=8)[0].to(dtype)
    run = toys.make_run(blocks, [1.0] * 9, 1.0, rule="interval", level=level, predictor=predictor, interval=9)
    run.decider.ending = 0
    outputs = [toys.evaluate(run, blocks, 1.0, img.clone(), (("a", "bb"),)) for _ in range(4)]
    assert computed(run) == [1, 1, 0, 0]
    for key in ("a", "bb"):
        assert outputs[3][key].dtype == dtype
        scale = outputs[0][key].abs().max().item()
        torch.testing.assert_close(outputs[3][key], outputs[0][key], rtol=0, atol=4 * DTYPES[dtype] * scale)


@given(
    mode=st.sampled_from(modes()),
    predictor=st.sampled_from(PREDICTORS),
    tokens=st.sampled_from([0.0, 1e-3, 0.05]),
    context=st.sampled_from(["all_tokens", "active_tokens"]),
    forecast=st.sampled_from([None, Forecast(0.75), Forecast(1.0, 0.5), Forecast(0.5, -0.2, in_sigma=False)]),
    calls=st.lists(st.sampled_from([(("a", "bb"),), (("a",), ("bb",)), (("bb",),)]), min_size=7, max_size=7),
    seed=st.integers(0, 99),
)
@settings(max_examples=80)
def test_no_given_tensor_is_written_and_no_handed_out_one_is_kept(
    mode, predictor, tokens, context, forecast, calls, seed
):
    """Versions of all inputs stay, and what is handed out may be spoilt without a trace in later predictions."""
    rule, level = mode
    blocks, states = [toys.attend(i, 4) for i in range(3)], toys.trajectory(7, samples=2, seed=seed)
    options = dict(rule=rule, level=level, predictor=predictor, forecast=forecast, selector={"context": context})
    clean, spoilt = (toys.make_run(blocks, SIGMAS, 0.5, tokens, **options) for _ in range(2))
    for sigma, img, cut in zip(SIGMAS[:-1], states, calls, strict=True):
        wanted = toys.evaluate(clean, blocks, sigma, img.clone(), cut)
        got = toys.evaluate(spoilt, blocks, sigma, img.clone(), cut, spoil=True)
        for key in wanted:
            torch.testing.assert_close(got[key], wanted[key], rtol=0, atol=0)
            assert got[key].isfinite().all()
    assert spoilt.decider.synchronisations <= 7 * 2


@pytest.mark.parametrize(("rule", "level"), modes())
def test_one_synchronisation_per_evaluation_for_every_rule_and_level(rule, level):
    blocks, states = [toys.attend(i, 4) for i in range(6)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 0.5, rule=rule, level=level)
    sample(run, blocks, states, (("a", "bb"),))
    assert run.decider.synchronisations == 6  # the first evaluation has nothing to read: sigma is a number here


def test_first_block_needs_three_hidden_states_per_branch():
    blocks, states = [toys.add(1.0)] * 5, toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 0.5, rule="first_block")
    sample(run, blocks, states, (("a", "bb"),))
    assert run.report.cache_bytes_peak == 2 * 3 * states[0].nbytes


def test_first_block_is_decided_by_the_first_blocks_work_alone():
    """The entry state rests, the first block's work changes: the others must be computed; and the other way round."""
    restless, resting = toys.trajectory(7), [torch.ones(1, 6, 4)] * 7
    jumping = [lambda s, sigma, a: {n: h * (1 + 20 * sigma) for n, h in s.items()}, toys.add(1.0)]
    run = toys.make_run(jumping, SIGMAS, 0.05, rule="first_block")
    sample(run, jumping, resting)
    assert [row[1] for row in run.report.to_json()["computed"]] == [1] * 7
    steady = [toys.add(1.0), toys.add(2.0)]
    run = toys.make_run(steady, SIGMAS, 1e-3, rule="first_block", max_consecutive_skips=9)
    for state, out in zip(restless, sample(run, steady, restless), strict=True):
        torch.testing.assert_close(out["cond"], state + 3.0)
    assert [row[1] for row in run.report.to_json()["computed"]] == [1, 1, 0, 0, 0, 0, 1]


def test_blocks_with_a_threshold_of_zero_are_computed_and_the_others_are_not():
    blocks, states = [toys.add(1.0)] * 4, toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0, level="block", block_thresholds="1-2: 0, 9: 0.1")
    sample(run, blocks, states)
    assert run.report.to_json()["computed"][3] == [0, 1, 1, 0]
    assert run.report.notes == [
        "block_thresholds: '9: 0.1' names blocks that do not exist; this model has blocks 0 to 3."
    ]


def test_the_damping_that_would_have_been_right_is_found():
    """A residual that moves by half as much at every step: the last difference is to be halved. What holds without any
    measurement counts as much as all of them."""
    states, half = toys.trajectory(12), [1 - i / 12 for i in range(12)] + [0.0]

    def block(streams, sigma, attending):
        return {name: h + 100 * 0.5 ** round((1 - sigma) * 12) for name, h in streams.items()}

    run = toys.make_run([block], half, 0.0, forecast=None, token_threshold=0.0)
    for sigma, img in zip(half[:-1], states, strict=True):
        toys.evaluate(run, [block], sigma, img.clone())
    (lead,) = run.decider.leads.values()
    (record,) = lead.sites.values()
    assert record.damping.value.tolist() == pytest.approx([(0.5 + DAMPING) / 2], abs=0.01)


def linear_block(streams, sigma, attending):
    """A residual that is a linear function of the state, 0.3 h in the first channels and -0.2 h in the others."""
    factors = torch.tensor([0.3, 0.3, -0.2, -0.2])
    return {name: h + h * factors for name, h in streams.items()}


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_linear_residual_is_predicted_exactly_by_a_profile_and_by_the_online_fit(calibrated):
    states = [torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(i)) for i in range(7)]
    known = {(0, 0, "image"): PerChannel(torch.tensor([0.3, 0.3, -0.2, -0.2]))}
    profile = Profile("toy", 4, ["double 0"], linear=known) if calibrated else None
    run = toys.make_run([linear_block], SIGMAS, 10.0, predictor="linear", profile=profile, forecast=REUSE)
    for img, out in zip(states, sample(run, [linear_block], states), strict=True):
        torch.testing.assert_close(out["cond"], plain([linear_block], 1.0, img), rtol=2e-3, atol=2e-3)
    assert computed(run) == [1, 1, 0, 0, 0, 1, 1]


def test_a_profile_makes_auto_linear():
    profile = Profile("toy", 4, ["double 0"], linear={(0, 0, "image"): PerChannel(torch.zeros(4))})
    assert toys.make_run([linear_block], SIGMAS, 1.0, profile=profile).report.run["predictor"] == "linear"
    assert toys.make_run([linear_block], SIGMAS, 1.0).report.run["predictor"] == "extrapolate"


def test_a_model_output_is_predicted_as_one_block():
    blocks, states = [toys.add_sigma(1.0)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, 1.0, 0.01, level="model_output", warmup_evaluations=3)
    for sigma, img, out in zip(SIGMAS[:-1], states, sample(run, blocks, states), strict=True):
        torch.testing.assert_close(out["cond"], plain(blocks, sigma, img))
    assert run.report.notes == ["Tokens are not selected: the level model_output decides about all of them at once."]


def test_a_call_of_several_blocks_counts_for_all_of_them():
    blocks, states = [toys.add_sigma(1.0), toys.add_sigma(2.0)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, rule="interval", block_threshold=1.0, interval=2, level="model_output")

    def both(streams, attending):
        return blocks[1](blocks[0](streams, sigma, None), sigma, None)

    for sigma, img in zip(SIGMAS[:-1], states, strict=True):
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        everything = Span(0, img.shape[1], img.shape[1])
        out = run.run_block(BlockCall(0, {"img": img.clone()}, ("img", everything), everything, both, more=1))["img"]
        torch.testing.assert_close(out, plain(blocks, sigma, img))
        run.end_evaluation()
    report = run.report.to_json()
    assert [row[0] for row in report["computed"]] == [row[1] for row in report["computed"]] == [1, 1, 0, 1, 0, 1, 1]
    assert report["computed_fraction"] == pytest.approx(5 / 7, abs=1e-3)


EVERY_OTHER = toys.every_other(["double 0"], SIGMAS)
FOR_ALL = dataclasses.replace(EVERY_OTHER, schedule=dataclasses.replace(EVERY_OTHER.schedule, whole=True))


@pytest.mark.parametrize(
    ("block_cache", "profile", "whole"),
    [
        ({}, None, True),
        ({"level": "stack"}, None, False),
        ({"level": "model_output"}, None, False),  # it is not `auto`
        ({"rule": "change"}, None, False),
        ({"rule": "interval"}, None, False),
        ({"predictor": "linear"}, None, False),
        ({"predictor": "reuse"}, None, True),
        ({"block_thresholds": "0: 0.1"}, None, False),
        ({}, EVERY_OTHER, False),
        ({"rule": "schedule"}, EVERY_OTHER, False),
        ({"rule": "schedule"}, FOR_ALL, True),
        ({"rule": "schedule", "mask": "smoothcache"}, FOR_ALL, False),
        ({"rule": "schedule"}, None, False),
    ],
)
def test_auto_is_the_whole_model_where_nothing_is_said_of_blocks_or_tokens(block_cache, profile, whole):
    settings = BlockCacheConfig(**block_cache)
    assert is_of_the_whole_model(FastCacheConfig(settings), profile) == whole
    assert not is_of_the_whole_model(FastCacheConfig(settings, TokenSelectorConfig(0.1)), profile)


def test_what_was_fitted_to_blocks_is_not_used_for_the_whole_model():
    schedule = dataclasses.replace(EVERY_OTHER.schedule, factors=[[0.5, 0.0]] * len(SIGMAS))
    linear = {(0, 0, "image"): PerChannel(torch.zeros(4))}
    of_blocks = dataclasses.replace(EVERY_OTHER, schedule=schedule, linear=linear).of_the_whole_model()
    assert of_blocks.linear == {} and of_blocks.schedule.factors is None
    assert of_blocks.schedule.computed == schedule.computed
    factors = dataclasses.replace(schedule, whole=True)
    assert dataclasses.replace(EVERY_OTHER, schedule=factors).of_the_whole_model().schedule == factors


@pytest.mark.parametrize("thresholds", [(0.5, 0.0), (0.0, 2e-4), (0.0005, 2e-4), (0.0, 1e-9)])
@pytest.mark.parametrize("level", BLOCK_LEVELS)
def test_text_and_image_in_one_stream_give_the_same_as_in_two(thresholds, level):
    blocks, states = [toys.attend(i, 4) for i in range(3)], toys.trajectory(7, samples=2)
    options = {"level": level, "selector": {"refresh_interval": 3}}
    apart, joint = (toys.make_run(blocks, SIGMAS, *thresholds, **options) for _ in range(2))
    for sigma, img, wanted in zip(SIGMAS[:-1], states, sample(apart, blocks, states), strict=True):
        got = toys.evaluate_joint(joint, blocks, sigma, img.clone())
        torch.testing.assert_close(got, wanted["cond"], rtol=1e-5, atol=1e-5)
    assert joint.report.to_json()["computed"] == apart.report.to_json()["computed"]
    assert (joint.report.computed_fraction < 1) == (thresholds != (0.0, 1e-9))


@pytest.mark.parametrize("predictor", ["auto", "linear"])
@pytest.mark.parametrize("level", BLOCK_LEVELS)
def test_a_batch_of_different_images_equals_its_single_runs(predictor, level):
    """With the same decisions; what is found while sampling, such as the damping, is found for every image."""
    blocks, states = [toys.attend(i, 4) for i in range(3)], toys.trajectory(7, samples=3)
    options = {"rule": "interval", "predictor": predictor, "level": level, "forecast": None}
    together = sample(toys.make_run(blocks, SIGMAS, 1.0, **options), blocks, states, (("a", "bb"),))
    for i in range(3):
        run = toys.make_run(blocks, SIGMAS, 1.0, **options)
        alone = sample(run, blocks, [state[i : i + 1] for state in states], (("a",), ("bb",)))
        assert 0 in computed(run)
        for both, one in zip(together, alone, strict=True):
            for key in ("a", "bb"):
                torch.testing.assert_close(both[key][i : i + 1], one[key], rtol=1e-4, atol=1e-5)


def evaluate_views(run, block, sigma, images):
    """Views of different parts of the picture in one batch, each with its own image."""
    names = [str(i) for i in range(len(images))]
    run.begin_evaluation(sigma)
    run.begin_call(names, names)
    streams = {"img": torch.cat(images), "txt": torch.ones(len(images), toys.TEXT, 4)}
    for index, one in enumerate(block):
        streams = run.run_block(toys.block_call(index, one, sigma, streams))
    run.end_evaluation()
    return streams["img"].chunk(len(images))


def test_tokens_of_several_views_in_one_batch_are_selected_and_reported():
    blocks, states = [toys.attend(0, 4), toys.attend(1, 4)], toys.trajectory(7)
    run = toys.make_run(blocks, SIGMAS, token_threshold=1e-4, selector={"refresh_interval": 9})
    run.report.grid = (1, 2, 3)
    for i, sigma in enumerate(SIGMAS[:-1]):
        moving = states[0].clone()
        moving[0, 3] += i
        resting, seen = evaluate_views(run, blocks, sigma, [states[0].clone(), moving])
    assert any("partial" in text for text in run.report.reason_texts)
    assert torch.isfinite(seen).all() and torch.isfinite(resting).all()
    report = run.report.to_json()
    assert report["tokens"]["samples"] == 1 and min(row[0] for row in report["computed"]) < 1


def test_first_block_looks_at_every_view_of_a_batch():
    blocks = [toys.attend(0, 4), toys.attend(1, 4)]
    for order in (1, -1):
        run = toys.make_run(blocks, SIGMAS, 0.1, rule="first_block")
        for i, sigma in enumerate(SIGMAS[:-1]):
            changing = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(i))
            evaluate_views(run, blocks, sigma, [torch.ones(1, 6, 4), changing][::order])
        assert computed(run) == [1] * 7 and run.report.computed_fraction == 1


@pytest.mark.parametrize("rule", ["change", "first_block"])
def test_every_view_of_a_batch_is_carried_as_far_as_it_went_itself(rule):
    blocks = [toys.attend(0, 4), toys.attend(1, 4)]
    states = [toys.trajectory(7, seed=seed, speed=0.02 * (1 + seed)) for seed in range(2)]
    options = {"rule": rule, "predictor": "aligned", "forecast": None, "level": "stack"}
    together = toys.make_run(blocks, SIGMAS, 5.0, **options)
    alone = [toys.make_run(blocks, SIGMAS, 5.0, **options) for _ in states]
    for sigma, *images in zip(SIGMAS[:-1], *states, strict=True):
        seen = evaluate_views(together, blocks, sigma, images)
        for part, run, img in zip(seen, alone, images, strict=True):
            torch.testing.assert_close(part, evaluate_views(run, blocks, sigma, [img])[0])
    assert together.report.computed_fraction < 1


def test_a_conditioning_that_comes_back_teaches_nothing_wrong():
    """Its anchor is old, the others' is not: its error says nothing about predicting over one evaluation."""
    blocks, states = [toys.attend(0, 4)], toys.trajectory(12)
    sigmas = [1 - i / 12 for i in range(12)] + [0.0]

    def realised(late):
        run = toys.make_run(blocks, sigmas, 1e-9, rule="significance")
        for i, (sigma, img) in enumerate(zip(sigmas[:-1], states, strict=True)):
            toys.evaluate(run, blocks, sigma, img.clone(), (("a",), ("bb",)) if late(i) else (("a",),))
        run.finish()
        return run.report.to_json()["error_realised"][8][0]

    assert realised(lambda i: not 3 <= i < 8) == pytest.approx(realised(lambda i: False), rel=1e-4)


def kept(profile=None, steps=7, **options):
    """Copies of a state that are kept at the end of a run over two blocks, and the run."""
    blocks, states = [toys.attend(0, 4), toys.attend(1, 4)], toys.trajectory(steps)
    sigmas = [1 - i / steps for i in range(steps)] + [0.0]
    run = toys.make_run(blocks, sigmas, 1.0, profile=profile, **options)
    for sigma, img in zip(sigmas, states, strict=False):
        toys.evaluate(run, blocks, sigma, img)
    text_and_image, image = (toys.TEXT + 6) * 4 * 4, 6 * 4 * 4
    return run.state.nbytes / (text_and_image + image), run


def calibrated_profile(maps):
    names, sigmas = ["double 0", "double 1"], [1 - i / 7 for i in range(7)]
    rows = [[int(i < 3 or i % 2)] * 2 for i in range(7)]
    schedule = Schedule(sigmas, rows, [[0.5, 0.5]] * 7)
    return Profile("toy", 4, names, linear=maps, schedule=schedule, changes=torch.full((2, 7, 3), 0.1))


@pytest.mark.parametrize(("options", "copies"), [
    ({"forecast": None}, 3),
    ({"forecast": Forecast(0.5)}, 2),
    ({"forecast": REUSE, "predictor": "extrapolate"}, 1),
    ({"forecast": None, "mask": "block_caching"}, 2),
])  # fmt: skip
def test_as_many_differences_are_kept_as_forecasts_take(options, copies):
    """A second difference of every block of a large model takes gigabytes."""
    found, run = kept(calibrated_profile({}), rule="schedule", level="block", **options)
    assert found == copies
    assert run.report.computed_fraction < 1


def test_where_calibration_found_no_map_none_is_fitted_unless_asked_for():
    profile = calibrated_profile({(0, 1, "image"): PerChannel(torch.ones(4))})
    options = {"rule": "interval", "interval": 2, "level": "block"}
    assert kept(profile, **options)[0] == 2
    assert kept(profile, predictor="linear", **options)[0] == 3
    for predictor, needed in (("auto", 2), ("linear", 3)):  # of text and image twice, as if no block were the last
        budget = needed * (8 + 6) * 16 - 1
        found, run = kept(profile, predictor=predictor, memory_budget=lambda budget=budget: budget, **options)
        assert run.cut.level == "stack"
