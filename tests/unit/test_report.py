import base64
import json
import re

import numpy as np
import pytest
import torch

from fastcache_core.metrics import psnr
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
        ({"token_threshold": 1e-9}, "Nothing was skipped: every token changed more than 1e-09."),
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
