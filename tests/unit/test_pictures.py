"""nodes/drawing/pictures.py: which pictures of an IMAGE are taken, what becomes of them, and the files."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nodes.drawing.pictures import LONGEST, MOST, chosen_frames, frame_pictures, save_pictures, small_picture
from tests.unit.sample_report import sample_report
from tests.unit.schemas import PACK, pack


def greys(count: int, size: tuple[int, int] = (4, 6), channels: int = 3) -> torch.Tensor:
    """Picture number i has the grey level i."""
    levels = torch.arange(count, dtype=torch.float32) / 255
    return levels.reshape(-1, 1, 1, 1).expand(count, *size, channels)


def levels(pictures: list[list[Image.Image]]) -> list[list[int]]:
    return [[picture.getpixel((0, 0))[0] for picture in of_sample] for of_sample in pictures]


@pytest.mark.parametrize(
    ("frames", "count", "chosen"),
    [
        (1, 1, [0]),
        (1, 5, [0]),
        (3, 9, [0, 4, 8]),
        (21, 81, list(range(0, 81, 4))),
        (3, 1, [0, 0, 0]),
        (4, 3, [0, 1, 1, 2]),
        (2, 24, [0, 23]),
    ],
)
def test_latent_frames_span_the_video(frames: int, count: int, chosen: list[int]) -> None:
    assert chosen_frames(frames, count, MOST) == chosen


def test_frames_share_pictures_where_they_are_too_many() -> None:
    chosen = chosen_frames(21, 81, 5)
    assert len(chosen) == 21 and len(set(chosen)) == 5
    assert chosen[0] == 0 and chosen[-1] == 80
    assert chosen == sorted(chosen)
    assert set(chosen_frames(21, 81, 1)) == {0}


@pytest.mark.parametrize(
    ("pictures", "samples", "frames", "shown"),
    [
        (3, 3, 1, [[0], [1], [2]]),
        (18, 2, 3, [[0, 4, 8], [9, 13, 17]]),
        (2, 3, 1, [[0], [1]]),
        (1, 1, 4, [[0, 0, 0, 0]]),
        (5, 2, 1, [[0], [2]]),
        (3, 0, 0, []),
    ],
)
def test_every_sample_has_its_own_pictures(pictures: int, samples: int, frames: int, shown: list[list[int]]) -> None:
    assert levels(frame_pictures(greys(pictures), samples, frames)) == shown


def test_pictures_that_do_not_divide_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        frame_pictures(greys(4), 2, 1)
        assert not caplog.messages
        frame_pictures(greys(5), 2, 1)
    assert "5 pictures are no whole number for each of 2 samples" in caplog.text


@pytest.mark.parametrize(("samples", "frames"), [(100, 1), (1, 100), (4, 21), (64, 2)])
def test_there_are_never_too_many(samples: int, frames: int) -> None:
    pictures = frame_pictures(greys(samples * frames, (1, 1)), samples, frames)
    assert len(pictures) == min(samples, MOST)
    assert {len(of_sample) for of_sample in pictures} == {frames}
    assert len({id(picture) for of_sample in pictures for picture in of_sample}) <= MOST


@pytest.mark.parametrize(
    ("size", "shown"),
    [((1024, 1024), (512, 512)), ((720, 1280), (512, 288)), ((3, 4000), (512, 1)), ((32, 32), (32, 32))],
)
def test_pictures_are_small(size: tuple[int, int], shown: tuple[int, int]) -> None:
    picture = small_picture(torch.zeros(*size, 3))
    assert picture.size == shown and max(picture.size) <= LONGEST


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_channels_and_types(channels: int, dtype: torch.dtype) -> None:
    picture = small_picture(torch.full((2, 2, channels), 0.5, dtype=dtype))
    assert picture.mode == "RGB" and picture.getpixel((1, 1)) == (128, 128, 128)


def test_what_is_no_number_is_black_and_what_is_outside_is_cut_off() -> None:
    picture = small_picture(torch.tensor([[[float("nan"), float("inf"), float("-inf")], [-3.0, 0.0, 7.0]]]))
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(0, 255, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (torch.zeros(4, 4, 3), r"is \(4, 4, 3\), not a tensor of the shape"),
        (torch.zeros(1, 2, 4, 4, 3), "not a tensor of the shape"),
        (torch.zeros(0, 4, 4, 3), "no pictures of 1, 3 or 4 channels"),
        (torch.zeros(1, 0, 4, 3), "no pictures of 1, 3 or 4 channels"),
        (torch.zeros(1, 4, 4, 2), "no pictures of 1, 3 or 4 channels"),
        ("image", "is str, not a tensor"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(image: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        frame_pictures(image, 1, 1)


def test_every_picture_is_one_file(tmp_path: Path) -> None:
    pictures = frame_pictures(greys(9) * 20, 1, 5)
    shared = [pictures[0] + [pictures[0][0]]]
    (references,) = save_pictures(shared, tmp_path, "", "abc")
    assert len(list(tmp_path.iterdir())) == 5
    assert references[0] == references[5] == {"filename": "abc_00001_.jpg", "subfolder": "", "type": "temp"}
    for reference, picture in zip(references, shared[0], strict=True):
        saved = Image.open(tmp_path / reference["filename"])
        assert saved.format == "JPEG" and saved.size == (6, 4)
        assert np.abs(np.asarray(saved, int) - np.asarray(picture, int)).max() <= 1


@pytest.fixture
def preview():
    pack()
    return importlib.import_module(f"{PACK}.nodes.preview")


@pytest.mark.parametrize("image", [torch.zeros(4, 4, 3), torch.zeros(0, 4, 4, 3), torch.zeros(2, 4, 4, 7), None])
def test_an_image_that_does_not_suit_costs_nothing_but_a_line(preview, image, caplog) -> None:
    report = sample_report()
    pictures = preview.pictures_of(image, report)
    assert pictures == []
    assert "FastCache Preview: the token maps are drawn without the image. The image" in caplog.text
    assert preview.draw(report, pictures).shape[0] > 64
