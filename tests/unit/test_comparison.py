"""nodes/drawing/comparison.py: which pairs are compared, the sentences about them, their pictures."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from fastcache_core.metrics import closeness
from tests.unit.sample_report import empty_report, sample_report
from tests.unit.schemas import PACK, pack

pack()
comparison = importlib.import_module(f"{PACK}.nodes.drawing.comparison")
canvas = importlib.import_module(f"{PACK}.nodes.drawing.canvas")
rendering = importlib.import_module(f"{PACK}.nodes.drawing.rendering")


def batch(images: int = 2, height: int = 16, width: int = 24, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand((images, height, width, channels), generator=torch.Generator().manual_seed(seed))


def shifted(images: torch.Tensor, *shifts: float) -> torch.Tensor:
    return images + torch.tensor(shifts).reshape(-1, 1, 1, 1)


def text(reference: torch.Tensor, image: torch.Tensor, skipped: list[str] | None = None) -> list[str]:
    pairs = comparison.Pairs(reference, image)
    measured = [closeness(seen, wanted) for wanted, seen in pairs]
    return comparison.comparison_text(pairs, measured, skipped or []).splitlines()


def drawn(reference: torch.Tensor, image: torch.Tensor) -> list[np.ndarray]:
    pairs = comparison.Pairs(reference, image)
    return list(comparison.pictures(pairs, pairs, [closeness(seen, wanted) for wanted, seen in pairs]))


def test_text_of_several_pairs() -> None:
    reference = 0.4 * batch(3) + 0.1
    lines = text(reference, shifted(reference, 0.1, 0.01, 0.001), ["A sentence."])
    assert lines[0] == "3 pairs of 24 x 16 pixels."
    assert lines[1] == "PSNR 40.0 dB on average, 20.0 dB at worst (pair 1)."
    assert lines[2].startswith("SSIM 0.9") and lines[2].endswith("at worst (pair 1).")
    assert lines[3:] == ["Largest difference 0.1 (pair 1), of a range of 1.", "A sentence."]


def test_text_of_one_pair() -> None:
    reference = torch.full((1, 16, 24, 3), 0.25)
    lines = text(reference, reference + 0.5)
    assert lines == [
        "1 pair of 24 x 16 pixels.",
        "PSNR 6.0 dB.",
        "SSIM 0.6000.",
        "Largest difference 0.5, of a range of 1.",
    ]


def test_identical_pairs() -> None:
    reference = 0.4 * batch(3)
    assert text(reference, reference) == [
        "3 pairs of 24 x 16 pixels, identical: PSNR infinite, SSIM 1, largest difference 0."
    ]
    lines = text(reference, shifted(reference, 0, 0.1, 0))
    assert lines[0] == "3 pairs of 24 x 16 pixels; 2 of them identical, which the PSNR leaves out."
    assert lines[1] == "PSNR 20.0 dB."
    assert lines[3] == "Largest difference 0.1, of a range of 1."


def test_what_is_not_equal_is_never_called_one() -> None:
    assert comparison.similarity(1 - 1e-9) == "0.9999"
    assert comparison.similarity(1.0) == "1.0000"
    assert comparison.similarity(-0.00001) == "-0.0001"


def test_the_last_image_stands_for_missing_ones() -> None:
    reference = 0.4 * batch(2)
    image = torch.cat([reference, reference[1:] + 0.1])
    for one, other in ((reference, image), (image, reference)):
        lines = text(one, other)
        assert lines[0] == "3 pairs of 24 x 16 pixels; 2 of them identical, which the PSNR leaves out."
        assert lines[1] == "PSNR 20.0 dB."
    assert text(reference, image)[-1] == (
        "The reference has 2 images and the image 3 images: the last reference stands for those that are missing."
    )
    assert "the last image stands for" in text(image, reference)[-1]


def test_greyscale_counts_as_three_equal_channels() -> None:
    grey = batch(1, channels=1)
    assert "identical" in text(grey, grey.expand(-1, -1, -1, 3))[0]
    assert "identical" in text(grey, grey)[0]


def test_transparency_is_left_out() -> None:
    colour = batch(1)
    lines = text(torch.cat([colour, batch(1, channels=1)], dim=-1), colour)
    assert "identical" in lines[0]
    assert lines[1] == "The reference has transparency, which is not compared."


def test_half_precision_is_compared() -> None:
    assert "identical" in text(batch().half(), batch().half())[0]
    assert "identical" in text(batch().bfloat16(), batch().bfloat16())[0]


@pytest.mark.parametrize(
    ("reference", "image", "sentence"),
    [
        (batch(), batch(width=25), "The reference has 24 x 16 pixels and the image 25 x 16; only images of one size"),
        (batch(channels=2), batch(), r"The reference has the shape \(2, 16, 24, 2\); only batches"),
        (batch(), batch()[0], r"The image has the shape \(16, 24, 3\); only batches"),
        (batch(), batch(images=0), r"The image has the shape \(0, 16, 24, 3\); only batches"),
        (batch(), batch() * torch.nan, r"Image 1 of the image has pixels that are no numbers \(NaN or infinity\)"),
        (batch(height=10), batch(height=10), "windows of 11 x 11 pixels, but the images have 24 x 10"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(reference, image, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        text(reference, image)


def test_what_was_skipped_and_the_steps_that_cost_as_much() -> None:
    report = sample_report() | {"computed_fraction": 0.604}
    lines = comparison.skipped_text(report)
    touched = sum(min(row) < 1 for row in report["computed"])
    assert lines[0] == f"FastCache: {rendering.totals_text(report)}; it predicted in {touched} of 20 evaluations."
    assert lines[1:] == ["The same work as about 12 of 20 plain steps, estimated from the work of the blocks."]


@pytest.mark.parametrize(("fraction", "steps"), [(0.001, 1), (0.024, 1), (0.075, 2), (0.999, 20)])
def test_steps_are_rounded_and_at_least_one(fraction: float, steps: int) -> None:
    (_, line) = comparison.skipped_text(sample_report() | {"computed_fraction": fraction})
    assert line.startswith(f"The same work as about {steps} of 20 plain steps")


def test_a_run_that_skipped_nothing_says_why() -> None:
    assert comparison.skipped_text(empty_report("Why.")) == ["Why."]
    report = sample_report() | {"computed": [[1.0] * 16] * 20, "computed_fraction": 1.0, "notes": ["Why."]}
    lines = comparison.skipped_text(report)
    assert "it predicted in 0 of 20 evaluations" in lines[0] and lines[1:] == ["Why."]


@pytest.mark.parametrize("size", [(16, 16), (11, 40), (255, 100), (300, 260), (64, 1500), (1100, 700)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    width, height = size
    reference = 0.9 * batch(2, height, width)
    pictures = drawn(reference, shifted(reference, 0.05, 0.1))
    assert len(pictures) == 2 and pictures[0].shape == pictures[1].shape
    for picture in pictures:
        assert picture.dtype == np.float32 and picture.min() >= 0 and picture.max() <= 1
        for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
            assert (edge == picture[0, 0]).all(), "something touches the edge"


def test_panels_show_both_images_and_the_difference_on_one_scale() -> None:
    reference = torch.full((2, 32, 32, 3), 0.2)
    image = reference.clone()
    image[0, :, 16:, 1] += 0.2
    image[1, :16, :, 2] -= 0.05
    first, second = (np.round(picture * 255).astype(int) for picture in drawn(reference, image))
    x, y, panel, gap = canvas.MARGIN, 62, 256, canvas.GAP

    def at(picture: np.ndarray, place: int, row: int, column: int) -> list[int]:
        return picture[y + row, x + place * (panel + gap) + column].tolist()

    assert at(first, 0, 10, 200) == [51, 51, 51]
    assert at(first, 1, 10, 200) == [51, 102, 51]
    assert at(first, 2, 10, 10) == [0, 0, 0]
    assert at(first, 2, 10, 200) == [255, 255, 255], "0.2, the end of the scale"
    assert at(second, 2, 10, 200) == pytest.approx(comparison.heat(np.array(0.25)), abs=1), "0.05"
    assert at(second, 2, 200, 10) == [0, 0, 0]


def test_heat_map_gets_brighter_all_the_way() -> None:
    colours = comparison.heat(np.linspace(0, 1, 64)) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    brightness = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all()


@pytest.mark.parametrize(("largest", "top"), [(0, 0.01), (0.01, 0.01), (0.011, 0.02), (0.4, 0.5), (0.51, 1), (3, 1)])
def test_scale_ends_at_a_round_number(largest: float, top: float) -> None:
    assert comparison.heat_top(largest) == top


def test_pictures_of_long_videos_stay_within_a_gigabyte() -> None:
    assert comparison.panel_size(1280, 720, 1) == (1024, 576)
    for frames in (81, 257, 2000):
        width, height = comparison.panel_size(1280, 720, frames)
        assert frames * 3 * width * height * 3 * 4 <= 1.02 * 2**30
        assert width / height == pytest.approx(16 / 9, rel=0.02)


def test_only_one_pair_is_held_at_a_time() -> None:
    """A batch that is made of one image a thousand times over is never copied as a whole."""
    long = torch.zeros((1, 16, 16, 3)).expand(1000, -1, -1, -1)
    sizes = {array.nbytes for pair in comparison.Pairs(long, long) for array in pair}
    assert sizes == {16 * 16 * 3 * 4}
