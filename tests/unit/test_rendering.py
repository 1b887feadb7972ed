"""nodes/drawing/rendering.py and what it draws with: pixels of reports whose pictures are obvious."""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import pytest
from PIL import Image, ImageColor

from tests.unit.sample_report import empty_report, pack_bits, sample_report
from tests.unit.schemas import PACK, pack

pack()
canvas, held_curve, rendering, token_maps = (
    importlib.import_module(f"{PACK}.nodes.drawing.{name}")
    for name in ("canvas", "held_curve", "rendering", "token_maps")
)
TEXT, FORCED, HEIGHT = canvas.TEXT, held_curve.FORCED, held_curve.HEIGHT
SHADED, evenly, most_mixed, overlaid = (
    token_maps.SHADED,
    token_maps.evenly,
    token_maps.most_mixed,
    token_maps.overlaid,
)


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
    report["run"]["rule"] = "interval"  # without a threshold, and therefore without a curve
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


def blank_report(evaluations: int, blocks: int = 1) -> dict:
    """All computed, nothing measured, no token maps, and only what the oldest reports have."""
    told = ("schema", "blocks", "reasons", "reason_texts", "notes", "seconds", "cache_bytes_peak", "computed_fraction")
    report = sample_report(0, blocks, evaluations)
    return {key: report[key] for key in told} | {
        "run": {},
        "computed": [[1.0] * blocks] * evaluations,
        "change": [[None] * blocks] * evaluations,
        "error_realised": [[None] * blocks] * evaluations,
        "tokens": {"grid": [0, 0, 0], "samples": 0, "computed": [""] * evaluations},
    }


def runs_along(line: np.ndarray) -> list[tuple[tuple[int, ...], int]]:
    """Colours [pixels, 3] as (colour, how many in a row)."""
    colours = [tuple(pixel) for pixel in np.round(line * 255).astype(int).tolist()]
    return [(colour, len(list(run))) for colour, run in itertools.groupby(colours)]


def test_cells_whose_branches_differ_are_split() -> None:
    """Of 4 evaluations the second computed cond only: the right half of its cell is predicted."""
    both = {"cond": [[1.0]] * 4, "uncond": [[1.0], [0.0], [1.0], [1.0]]}
    picture = rendering.render_report(blank_report(4) | {"computed_by_branch": both})
    full, skipped, gap = rendering.shade(1), rendering.shade(0), (34, 34, 34)
    cells = [(full, 27), (gap, 1), (full, 14), (skipped, 13), (gap, 1), (full, 27), (gap, 1), (full, 27), (gap, 429)]
    assert runs_along(picture[76, 100:]) == cells
    assert count_pixels(picture, skipped) > 13 * 17, "the legend tells which half is whose"


def test_branches_that_were_treated_alike_are_not_split() -> None:
    report = blank_report(4)
    alike = report | {"computed_by_branch": {"cond": report["computed"], "uncond": report["computed"]}}
    assert (rendering.render_report(alike) == rendering.render_report(report)).all()


def curve_report(values: list[float | None], threshold: float, **more: object) -> dict:
    """One block, and what was held against its threshold; cells are 28 pixels wide."""
    changes = {"held": values, "realised": [None for _ in values]}
    report = blank_report(len(values)) | changes | more
    return report | {"run": {"rule": "change", "block_threshold": threshold}}


def below_the_grid(report: dict) -> np.ndarray:
    """The pixels of the curve alone: its grid is one row of cells, with axis and legend below it."""
    return np.round(rendering.render_report(report)[136:, 100:] * 255).astype(int)


def places(pixels: np.ndarray, colour: str) -> tuple[np.ndarray, np.ndarray]:
    return np.nonzero((pixels == np.array(ImageColor.getrgb(colour))).all(axis=-1))


def test_curve_lies_on_the_side_of_the_threshold_that_its_colour_tells() -> None:
    pixels = below_the_grid(curve_report([0.4, 0.1, 0.4, 0.1], 0.2))
    drawn = (pixels[:, : 4 * 28] == np.array(ImageColor.getrgb(TEXT))).all(axis=-1)
    (line,) = np.flatnonzero(drawn.sum(axis=1) > 100)
    for colour, columns, side in (("computed", (0, 2), -1), ("predicted", (1, 3), 1)):
        ys, xs = places(pixels, rendering.PALETTE[colour])
        assert sorted(set(xs // 28)) == list(columns)
        assert (np.sign(ys - line) == side).all()
        assert np.abs(np.abs(ys - line) - 46).max() <= 3, "a factor of two up is as far as a factor of two down"


def test_threshold_goes_in_steps_where_it_changed() -> None:
    """Twice the threshold in the second half: one more line, higher up."""
    thresholds = {"block": [0.1, 0.1, 0.2, 0.2], "token": [0.0] * 4}
    drawn = below_the_grid(curve_report([0.05, 0.05, 0.05, 0.05], 0.1, thresholds=thresholds))
    lit = (drawn == np.array(ImageColor.getrgb(TEXT))).all(axis=-1)
    (first,), (second,) = (np.flatnonzero(lit[:, half].all(axis=1)) for half in (slice(0, 56), slice(56, 112)))
    assert second < first


def test_forced_evaluations_have_another_ground() -> None:
    pixels = below_the_grid(curve_report([0.4, 0.1, 0.4, 0.1], 0.2, forced=[None, None, None, 1]))
    ys, xs = places(pixels[:, : 4 * 28], FORCED)
    assert set(xs // 28) == {3}
    assert (ys.min(), ys.max()) == (0, HEIGHT)


def test_realised_errors_are_rings() -> None:
    with_error = curve_report([0.1, 0.1], 0.1) | {"realised": [None, 0.02]}
    pixels = [below_the_grid(report)[:120, 28:56] for report in (curve_report([0.1, 0.1], 0.1), with_error)]
    assert (pixels[0] != pixels[1]).any()
    lowest = [places(one, TEXT)[0].max() for one in pixels]
    assert lowest[1] > lowest[0] + 20


@pytest.mark.parametrize("value", [None, 0.0])
def test_nothing_that_fits_a_logarithmic_axis_is_no_curve(value: float | None) -> None:
    report = curve_report([value] * 3, 0.1)
    assert (rendering.render_report(report) == rendering.render_report(blank_report(3))).all()


@pytest.mark.parametrize(
    "odd",
    [
        {"run": None},
        {"run": {"rule": ["change"], "sites": 5, "block_threshold": "high", "own_thresholds": {}}},
        {"run": {"rule": "significance", "sites": [[99, 100]], "block_threshold": None}},
        {"thresholds": [0.1], "forced": {"warm-up": 1}, "work": "all", "size": [[]], "step": None},
        {"thresholds": {"block": [None, "x", -1.0]}, "forced": [None], "change": [[None, "x"], None, 4]},
        {"change": [[float("inf")] * 16] * 20, "error_realised": [[-1.0] * 16] * 20},
        {"computed_by_branch": [[1.0]]},
        {"computed_by_branch": {}},
        {"computed_by_branch": {"cond": None, "uncond": [[2.0, -1.0], [float("nan")]]}},
        {"computed_by_branch": {"one": [], "two": [], "three": [[0.5]]}},
        {"change": None, "error_expected": None, "error_realised": None},
    ],
)
def test_additions_that_are_missing_or_malformed_cost_nothing_else(odd: dict) -> None:
    picture = rendering.render_report(sample_report() | odd)
    assert count_pixels(picture, rendering.PALETTE["computed"]) > 100 * 27 * 17, "the grid"


def pictures_of(report: dict, colour: str = "#ffffff", size: tuple[int, int] = (64, 64)) -> list[list[Image.Image]]:
    samples, frames = report["tokens"]["samples"], report["tokens"]["grid"][0]
    return [[Image.new("RGB", size, colour)] * frames] * samples


def test_tokens_of_an_image_are_drawn_over_it() -> None:
    """Two of four tokens are predicted: half of the white picture is shaded, with a line between."""
    picture = Image.new("RGB", (64, 64), "#ffffff")
    drawn = np.array(overlaid(picture, np.array([[1, 0], [1, 0]]), 96))
    assert drawn.shape == (96, 96, 3)
    assert (drawn[:, :48] == 255).all()
    assert (drawn[:, 48] == ImageColor.getrgb(rendering.PALETTE["computed"])).all()
    shaded = [255 + SHADED * (channel - 255) for channel in ImageColor.getrgb(rendering.PALETTE["predicted"])]
    assert np.abs(drawn[:, 49:] - shaded).max() <= 1


def test_tokens_finer_than_the_pixels_are_averaged() -> None:
    chequered = np.indices((256, 256)).sum(axis=0) % 2
    drawn = np.array(overlaid(Image.new("RGB", (512, 512), "#ffffff"), chequered, 64), dtype=int)
    assert drawn.max() - drawn.min() <= 255 and np.ptp(drawn, axis=(0, 1)).max() <= 4


@pytest.mark.parametrize(("size", "longest"), [((640, 360), (96, 54)), ((360, 640), (54, 96)), ((4000, 1), (96, 1))])
def test_pictures_keep_their_shape(size: tuple[int, int], longest: tuple[int, int]) -> None:
    assert overlaid(Image.new("RGB", size), np.ones((4, 4), int), 96).size == longest


def half_computed(grid: tuple[int, int, int], samples: int) -> dict:
    """Two evaluations: the first computed the left half of the tokens, the second all."""
    rows = samples * grid[0] * grid[1]
    report = sample_report(1, 1, 2, grid, samples)
    left = [1] * (grid[2] // 2) + [0] * (grid[2] // 2)
    report["tokens"]["computed"] = [pack_bits(left * rows), pack_bits([1] * grid[2] * rows)]
    return report


@pytest.mark.parametrize(
    ("grid", "samples", "tiles"),
    [
        ((1, 8, 8), 1, 0),
        ((1, 8, 8), 8, 8),
        ((1, 8, 8), 20, 8),
        ((5, 8, 8), 1, 5),
        ((5, 8, 8), 3, 5),
        ((21, 6, 8), 1, 8),
    ],
)
def test_samples_or_frames_of_the_most_mixed_evaluation_are_shown(
    grid: tuple[int, int, int], samples: int, tiles: int
) -> None:
    """Pictures of pure green: of a video only tiles show them, of images also the map of every evaluation."""
    report = half_computed(grid, samples)
    green = count_pixels(rendering.render_report(report, pictures_of(report, "#00ff00")), "#00ff00")
    maps = 96 * 48 + 96 * 96 if grid[0] == 1 else 0
    assert green == maps + tiles * 144 * 72


def test_samples_without_a_picture_are_left_out() -> None:
    report = half_computed((1, 8, 8), 8)
    picture = rendering.render_report(report, pictures_of(report, "#00ff00")[:2])
    assert count_pixels(picture, "#00ff00") == 96 * 48 + 96 * 96 + 2 * 144 * 72


def test_most_mixed_is_closest_to_half() -> None:
    masks = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]).reshape(4, 1, 1, 2, 2)
    assert most_mixed(masks) == 2
    assert most_mixed(masks[[0, 3]]) is None


@pytest.mark.parametrize(
    ("count", "shown"), [(1, [0]), (3, [0, 1, 2]), (8, list(range(8))), (21, [0, 3, 6, 9, 11, 14, 17, 20])]
)
def test_frames_are_spread_evenly(count: int, shown: list[int]) -> None:
    assert evenly(count, 8) == shown


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
