"""FastCache Preview's outputs in a real ComfyUI: its picture, and the small pictures under the widget's token maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.graphs import Graph, node
from hosting.comfy_server import ComfyServer

from .graphs import PROMPTS, graph, refined, toy_graph

VIDEO = "wan21_i2v"  # 3 latent frames of 8 x 8 tokens
TOKENS = {"threshold": 0.05}


def with_image(graph: Graph, image: list | None) -> Graph:
    """The same graph with an image on its preview, and the preview's picture saved."""
    preview = graph["preview"]
    inputs = preview["inputs"] | ({"image": image} if image else {})
    picture = node("SaveImage", images=["preview", 0], filename_prefix="picture")
    return {**graph, "preview": {**preview, "inputs": inputs}, "map": picture}


def greys(count: int) -> Graph:
    """Nodes whose last one, "greys", is a batch of `count` pictures; number i has the grey level 10 * i."""
    nodes = {
        f"grey {i}": node("EmptyImage", width=64, height=32, batch_size=1, color=10 * i * 0x010101)
        for i in range(count)
    }
    nodes["batch 0"] = nodes.pop("grey 0")
    for i in range(1, count):
        nodes[f"batch {i}"] = node("ImageBatch", image1=[f"batch {i - 1}", 0], image2=[f"grey {i}", 0])
    nodes["greys"] = node("RepeatImageBatch", image=[f"batch {count - 1}", 0], amount=1)
    return nodes


def drawn(server: ComfyServer, graph: Graph) -> tuple[np.ndarray, dict[str, Any]]:
    """The preview's picture [height, width, 3] as saved, and what it sends to the widget."""
    outputs = server.run(graph)["outputs"]
    (saved,) = outputs["map"]["images"]
    return np.asarray(server.image(saved).convert("RGB"), int), outputs["preview"]


def temporary(server: ComfyServer) -> set[Path]:
    """Files in ComfyUI's temporary folder."""
    return {path for path in (server.base / "temp").rglob("*") if path.is_file()}


def grey_levels(server: ComfyServer, references: list[list[dict[str, str]]]) -> list[list[int]]:
    """The grey level of every picture that the references lead to, as numbers of `greys`."""
    pictures = [[np.asarray(server.image(reference)) for reference in of_sample] for of_sample in references]
    return [[round(float(picture.mean()) / 10) for picture in of_sample] for of_sample in pictures]


def test_without_an_image_nothing_is_written(server):
    before = temporary(server)
    picture, shown = drawn(server, with_image(graph(fastcache={}), None))
    assert set(shown) == {"fastcache_report"}
    assert temporary(server) == before
    assert picture.shape[1] >= 640 and picture.std() > 20


def test_images_are_sent_to_the_widget_and_lie_under_the_token_maps(server):
    sampled = refined(graph(fastcache={}), token_selector=TOKENS)
    bare, _ = drawn(server, with_image(sampled, None))
    outputs = server.run(with_image(sampled, ["decode", 0]))["outputs"]
    references = outputs["preview"]["fastcache_images"]
    assert [len(of_sample) for of_sample in references] == [1] * len(PROMPTS)
    for (reference,), saved in zip(references, outputs["save"]["images"], strict=True):
        assert set(reference) == {"filename", "subfolder", "type"} and reference["type"] == "temp"
        assert server.base / "temp" / reference["filename"] in temporary(server)
        small, whole = (server.image(one) for one in (reference, saved))
        assert small.format == "JPEG" and small.size == whole.size == (32, 32)
        difference = np.abs(np.asarray(small, int) - np.asarray(whole.convert("RGB"), int))
        assert difference.mean() < 6, "the same picture, but for JPEG"
    picture = np.asarray(server.image(outputs["map"]["images"][0]).convert("RGB"), int)
    assert picture.shape[1] == bare.shape[1] and picture.shape[0] > bare.shape[0]
    # Grid and curve are the same; what the picture says of the seconds is not.
    assert (picture[60:360] == bare[60:360]).all()


def test_large_pictures_are_made_small(server):
    image = node("EmptyImage", width=1536, height=1024, batch_size=len(PROMPTS), color=0x804020)
    _, shown = drawn(server, {**with_image(graph(fastcache={}), ["large", 0]), "large": image})
    assert {server.image(reference).size for (reference,) in shown["fastcache_images"]} == {(512, 341)}


@pytest.mark.parametrize(
    ("batch", "pictures", "levels"),
    [(1, 9, [[0, 4, 8]]), (2, 18, [[0, 4, 8], [9, 13, 17]]), (2, 1, [[0, 0, 0]])],
)
def test_frames_of_a_video_are_chosen_for_its_latent_frames(server, missing, batch, pictures, levels):
    if VIDEO in missing:
        pytest.skip(missing[VIDEO])
    sampled = refined(toy_graph(VIDEO, {}, batch=batch), token_selector={"threshold": 0.3})
    bare, _ = drawn(server, with_image(sampled, None))
    picture, shown = drawn(server, {**with_image(sampled, ["greys", 0]), **greys(pictures)})
    assert shown["fastcache_report"][0]["tokens"]["grid"] == [3, 8, 8]
    assert grey_levels(server, shown["fastcache_images"]) == levels
    assert picture.shape[0] >= bare.shape[0] + 72, "a row of three frames"


def test_pictures_that_do_not_fit_the_samples_cost_nothing(server):
    _, shown = drawn(server, {**with_image(graph(fastcache={}), ["greys", 0]), **greys(5)})
    assert grey_levels(server, shown["fastcache_images"]) == [[0], [1], [2]]
    assert "FastCache Preview: 5 pictures are no whole number for each of 3 samples" in server.log()


def test_an_alpha_channel_is_left_out(server):
    more = {
        "empty image": node("EmptyImage", width=32, height=32, batch_size=1, color=0x646464),
        "mask": node("SolidMask", value=0.5, width=32, height=32),
        "alpha": node("JoinImageWithAlpha", image=["empty image", 0], alpha=["mask", 0]),
    }
    sampled = graph(fastcache={}, prompts=PROMPTS[:1])
    _, shown = drawn(server, {**with_image(sampled, ["alpha", 0]), **more})
    assert grey_levels(server, shown["fastcache_images"]) == [[10]]


def test_a_run_that_was_left_alone_needs_no_pictures(server):
    off = graph(fastcache={"block_threshold": 0.0})
    picture, shown = drawn(server, with_image(off, ["decode", 0]))
    assert shown["fastcache_images"] == []
    assert picture.shape[1] == 640 and picture.std() > 5


@pytest.mark.parametrize(
    ("own_threshold", "change", "note"),
    [
        (0.123, {"model": ["shift", 0]}, "This model does not come from a FastCache node that is at work"),
        (0.124, {"after_sample": ["latent", 0]}, "This FastCache model has not sampled yet"),
    ],
    ids=["bypassed", "not yet"],
)
def test_without_a_run_it_says_why_and_costs_nothing(server, own_threshold, change, note):
    """As with FastCache bypassed, to compare: the workflow runs through."""
    preview = graph(fastcache={"block_threshold": own_threshold})  # of no other run, for ComfyUI keeps nodes' outputs
    preview["preview"]["inputs"] |= change
    if "after_sample" in change:  # otherwise the sampler could come first
        preview = {
            key: preview[key] for key in ("load", "shift", "fastcache", "canvas", "vae", "latent", "preview", "map")
        }
    _, shown = drawn(server, preview)
    (report,) = shown["fastcache_report"]
    assert report["computed"] == [] and report["notes"][0].startswith(note)
