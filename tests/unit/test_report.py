import base64
import gc
import json
import re
import weakref

import numpy as np
import pytest
import torch

from fastcache_core.metrics import psnr
from fastcache_core.records import fractions
from fastcache_core.report import Report, log_line

from . import toys

SIGMAS = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]


def sampled(block_threshold=0.0, token_threshold=0.0, samples=1, **options):
    blocks = [toys.attend(0, 4), toys.attend(1, 4)]
    run = toys.make_run(blocks, SIGMAS, block_threshold, token_threshold, **options)
    run.report.grid = (1, 2, 3)
    for sigma, img in zip(SIGMAS, toys.trajectory(5, samples), strict=False):
        toys.evaluate(run, blocks, sigma, img, (("a", "bb"),))
    return run.report


def test_the_arrays_have_a_row_per_evaluation_and_a_column_per_block():
    report = json.loads(json.dumps(sampled(block_threshold=0.5).to_json()))
    assert report["schema"] == "fastcache.report/1"
    assert report["blocks"] == ["double 0", "double 1"]
    assert report["run"]["sigmas"] == pytest.approx(SIGMAS[:5])
    assert report["run"]["steps"] == 5
    for key in ("computed", "change", "error_expected", "error_realised", "reasons"):
        assert [len(row) for row in report[key]] == [2] * 5, key
    assert report["computed"] == [[1, 1], [1, 1], [0, 0], [0, 0], [1, 1]]
    assert report["computed_fraction"] == pytest.approx(0.6)


def test_token_bits_say_which_tokens_were_computed():
    report = sampled(token_threshold=3e-4, samples=2).to_json()
    tokens = report["tokens"]
    assert (tokens["grid"], tokens["samples"]) == ([1, 2, 3], 2)
    bits = [np.unpackbits(np.frombuffer(base64.b64decode(b), np.uint8))[:12] for b in tokens["computed"]]
    assert bits[0].all() and bits[-1].all()
    shares = [b.reshape(2, 6).sum(axis=1).max() / 6 for b in bits]
    assert [row[0] for row in report["computed"]] == pytest.approx(shares, abs=1e-3)
    assert min(shares) < 1


@pytest.mark.parametrize(
    ("rule", "measure", "array"),
    [
        ("change", "change", "change"),
        ("significance", "expected error", "error_expected"),
        ("first_block", "change of the first block's work", "change"),
    ],
)
def test_a_run_without_skips_says_how_close_it_came(rule, measure, array):
    report = sampled(block_threshold=1e-6, rule=rule).to_json()
    (note,) = report["notes"]
    smallest = min(row[-1] for row in report[array][2:-1])  # without warm-up and the last, which always are computed
    told = re.fullmatch(rf"Nothing was skipped; smallest {measure} seen (\S+), block_threshold 1e-06\.", note)
    assert float(told[1]) == pytest.approx(smallest, rel=1e-2)
    assert report["notes"][0] in log_line(report)


def test_a_run_that_was_left_alone_has_a_note_and_no_arrays():
    report = Report()
    report.note("UNetModel is not a supported model; it runs without FastCache.")
    data = report.to_json()
    assert data["computed"] == [] and data["computed_fraction"] == 1
    assert log_line(data) == "FastCache: UNetModel is not a supported model; it runs without FastCache."


def test_psnr_of_unrelated_random_images_is_7_8_db():
    a, b = np.random.default_rng(0).random((2, 256, 256, 3))
    assert psnr(a, b) == pytest.approx(7.78, abs=0.05)
    as_bytes = (np.stack([a, b]) * 255).astype(np.uint8)
    assert psnr(as_bytes[0] / 255, as_bytes[1] / 255) == pytest.approx(7.78, abs=0.05)
    assert psnr(a, a) == float("inf")
    with pytest.raises(ValueError, match="different shapes"):
        psnr(a, b[:10])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"block_threshold": 1.0, "min_steps": 9}, "Nothing was skipped: 5 steps are too few to skip any, it takes 9."),
        (
            {"token_threshold": 1e-9, "warmup_evaluations": 3},
            "Nothing was skipped: every token changed more than 1e-09.",
        ),
    ],
)
def test_a_run_without_skips_names_the_reason_that_held(options, sentence):
    blocks = [toys.attend(0, 4)]
    run = toys.make_run(blocks, SIGMAS, **options)
    for sigma, img in zip(SIGMAS, toys.trajectory(5), strict=False):
        toys.evaluate(run, blocks, sigma, img)
    assert run.report.to_json()["notes"] == [sentence]


def test_numbers_that_json_cannot_carry_become_null():
    blocks = [toys.add(1.0)]
    run = toys.make_run(blocks, SIGMAS, block_threshold=0.5)
    for sigma in SIGMAS[:3]:
        toys.evaluate(run, blocks, sigma, torch.full((1, 6, 4), float("nan")))
    report = run.report.to_json()
    assert json.loads(json.dumps(report, allow_nan=False))["change"] == [[None]] * 3
    assert report["computed_fraction"] == 1


def test_a_run_without_skips_under_a_curve_says_how_close_it_came_for_the_widgets_threshold():
    report = sampled(block_threshold=1e-6, rule="change", threshold_curve=(1, 4)).to_json()
    held, thresholds = report["held"][2:-1], report["thresholds"]["block"][2:-1]
    closest = min(value / threshold for value, threshold in zip(held, thresholds, strict=True)) * 1e-6
    (note,) = report["notes"]
    assert note == f"Nothing was skipped; smallest change seen {closest:.3g}, block_threshold 1e-06."


def test_few_tokens_are_neither_none_nor_all():
    rows = np.array([3.0, 3.0, 3.0, 3.0, 0.0])
    computed = rows * np.array([0, 1e-6, 1 - 1e-6, 1, 0])
    assert fractions(computed, rows) == [0, 1e-4, 0.9999, 1, 1]


def with_uncond_at(evaluations: range) -> dict:
    """The report of a run whose second conditioning is there at some evaluations only."""
    blocks = [toys.attend(0, 4), toys.attend(1, 4)]
    run = toys.make_run(blocks, SIGMAS, 0.5)
    for i, (sigma, img) in enumerate(zip(SIGMAS, toys.trajectory(5), strict=False)):
        run.begin_evaluation(sigma)
        for kind in ("cond", "uncond") if i in evaluations else ("cond",):
            run.begin_call([kind], kinds=[kind])
            streams = {"img": img, "txt": toys.text_of([kind], img)}
            for index, block in enumerate(blocks):
                streams = run.run_block(toys.block_call(index, block, sigma, streams))
        run.end_evaluation()
    return run.report.to_json()


def test_a_branch_that_is_not_called_was_not_treated_differently():
    report = with_uncond_at(range(3))
    assert report["computed"][3] == [0, 0]
    assert report["computed_by_branch"] == {}
    assert sum(report["evaluation_work"]) == pytest.approx(1)
    assert report["evaluation_work"][0] == pytest.approx(2 * report["evaluation_work"][-1])


def test_branches_that_were_treated_differently_are_told_apart():
    """The second conditioning comes later, so it has nothing to predict from when the first one is predicted."""
    report = with_uncond_at(range(2, 5))
    assert report["computed"][2] == [0.5, 0.5]
    assert report["computed_by_branch"]["cond"][2] == [0, 0]
    assert report["computed_by_branch"]["uncond"][2] == [1, 1]


def test_parts_of_the_picture_that_are_decided_about_apart_are_counted():
    blocks = [toys.attend(0, 4)]
    run = toys.make_run(blocks, SIGMAS, 0.5)
    for sigma, img in zip(SIGMAS, toys.trajectory(5), strict=False):
        run.begin_evaluation(sigma)
        for area in ("left", "right"):
            run.begin_call([area], [area])
            run.run_block(toys.block_call(0, blocks[0], sigma, {"img": img, "txt": toys.text_of([area], img)}))
        run.end_evaluation()
    assert run.report.to_json()["run"]["views"] == 2
    assert sampled(block_threshold=0.5).to_json()["run"]["views"] == 1


def test_once_freed_a_run_holds_no_tensor_of_the_model():
    """Without waiting for the garbage collector: the memory is needed for what comes next."""
    blocks = [toys.attend(0, 4), toys.attend(1, 4)]
    run = toys.make_run(blocks, SIGMAS, 0.5, 3e-4)
    for sigma, img in zip(SIGMAS, toys.trajectory(5), strict=False):
        toys.evaluate(run, blocks, sigma, img)
    kept = [weakref.ref(h) for branch in run.state.branches.values() for h in branch.histories.values()]
    kept += [weakref.ref(table) for branch in run.state.branches.values() for table in branch.keys_values.values()]
    assert kept
    gc.disable()
    try:
        run.free()
        assert not any(ref() for ref in kept)
    finally:
        gc.enable()
    assert run.report.to_json()["computed"]
