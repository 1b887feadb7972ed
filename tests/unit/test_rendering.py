"""nodes/rendering.py and what it draws with: pixels of reports whose pictures are obvious."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from nodes import rendering
from tests.unit.sample_report import empty_report, pack_bits, sample_report


def count_pixels(picture: np.ndarray, colour: str | tuple[int, int, int]) -> int:
    """How many pixels have exactly this colour."""
    wanted = np.array(ImageColor.getrgb(colour) if isinstance(colour, str) else colour)
    return int((np.round(picture * 255).astype(int) == wanted).all(axis=-1).sum())


@pytest.mark.parametrize(
    "report",
    [
        sample_report(),
        sample_report(1, 0, 1, (1, 4, 4), 1),
        sample_report(19, 38, 50, (1, 64, 64), 1),
        sample_report(0, 30, 30, (21, 45, 80), 2),
        sample_report(2, 2, 300, (1, 1, 1), 1),
        empty_report(),
    ],
)
def test_picture_of_any_size(report: dict) -> None:
    picture = rendering.render_report(report)
    assert picture.dtype == np.float32 and picture.shape[2] == 3
    assert picture.min() >= 0 and picture.max() <= 1
    assert max(picture.shape) < 3000
    for edge in (picture[-1], picture[:, -1]):
        assert (edge == picture[0, 0]).all(), "something touches the edge"


def test_every_cell_has_the_area_of_its_state() -> None:
    """10 cells of which 3 are computed: without token maps, their areas are in that ratio."""
    report = sample_report(0, 1, 10)
    report["computed"] = [[1.0]] * 3 + [[0.0]] * 7
    report["tokens"]["computed"] = []
    some = count_pixels(rendering.render_report(report), rendering.PALETTE["computed"])
    report["computed"] = [[1.0]] * 10
    all_ten = count_pixels(rendering.render_report(report), rendering.PALETTE["computed"])
    cell = (all_ten - some) / 7
    legend = all_ten - 10 * cell
    assert cell == 27 * 17
    assert 13 * 13 <= legend <= 13 * 13 + 30, "the legend's square and its dot"


def test_tokens_of_a_batch_are_shaded_by_the_share_of_samples() -> None:
    report = sample_report(0, 1, 1, (1, 1, 2), 4)
    report["tokens"]["computed"] = [pack_bits([1, 0] * 3 + [0, 0])]
    picture = rendering.render_report(report)
    assert count_pixels(picture, rendering.shade(0.75)) == 36 * 36
    assert count_pixels(picture, rendering.shade(0)) >= 36 * 36


def test_notes_are_written() -> None:
    short, long = (rendering.render_report(empty_report(note)) for note in ("Why.", "Nothing was skipped. " * 30))
    assert long.shape[0] > short.shape[0]
    assert count_pixels(short, rendering.PALETTE["computed"]) > 0, "the bar beside the note"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": "fastcache.report/2"}, "has the schema 'fastcache.report/2'"),
        ({"blocks": None}, "'blocks' is not a list of texts"),
        ({"notes": [1]}, "'notes' is not a list of texts"),
        ({"computed": [[1.0]]}, "one number for each of 16 blocks"),
        ({"computed": [[1.5] * 16]}, "not between 0 and 1"),
        ({"computed": [[float("nan")] * 16]}, "not between 0 and 1"),
        ({"seconds": {"total": 1.0}}, "are not all numbers"),
        ({"computed_fraction": float("nan")}, "are not all numbers"),
        ({"tokens": {"grid": [8, 8], "samples": 1, "computed": [""] * 20}}, "do not fit"),
        ({"tokens": {"grid": [1, 8, 8], "samples": 1, "computed": ["AA=="] * 20}}, "1 bytes where 64 bits were due"),
        ({"tokens": {"grid": [1, 8, 8], "samples": 1, "computed": ["!"] * 20}}, "not base64"),
        ({"tokens": {"grid": [1, -8, -8], "samples": 1, "computed": ["!"] * 20}}, "negative size"),
        ({"tokens": {"grid": 8, "samples": 1, "computed": ["!"] * 20}}, "do not fit"),
        ({"tokens": [1]}, "'tokens' is a list, not an object"),
    ],
)
def test_odd_reports_are_refused_in_a_sentence(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rendering.render_report(sample_report() | change)


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="only 'fastcache.report/1' can be drawn"):
        rendering.render_report([])
