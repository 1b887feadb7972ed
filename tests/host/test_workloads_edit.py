"""The workloads with something given: inpainting keeps its half, others a reference's shape, with FastCache too."""

from __future__ import annotations

import numpy as np
import pytest

from demo import edit, inpaint, references
from demo.data import COLOURS
from demo.graphs import Graph, node
from fastcache_core.metrics import psnr

from .graphs import DEFAULTS, gets_along, pictures, refined, sample, sample_all, with_widgets

PROMPTS = ("red t-shirt", "green pullover", "cyan sneaker")
HALF = inpaint.SIZE // 2


def with_fastcache(graph: Graph) -> Graph:
    """The same graph with FastCache before the sampler that is measured."""
    entry = graph["sample"]
    fastcache = node("FastCache", model=entry["inputs"]["model"], **DEFAULTS)
    preview = node("FastCachePreview", model=["fastcache", 0], after_sample=["sample", 0])
    cached = {**entry, "inputs": entry["inputs"] | {"model": ["fastcache", 0]}}
    return {**graph, "fastcache": fastcache, "preview": preview, "sample": cached}


def colours_of(images: np.ndarray) -> list[str]:
    """The demo's colour that the bright pixels of each image [n, 3, h, w] come closest to."""
    names, table = list(COLOURS), np.array(list(COLOURS.values())) / 255
    means = [image[:, image.max(axis=0) > 0.4].mean(axis=1) for image in images]
    return [names[np.linalg.norm(table - mean / mean.max(), axis=1).argmin()] for mean in means]


def test_inpainting_leaves_its_half_alone_and_puts_the_piece_in_the_other(server):
    (base, filled), _ = sample_all(server, inpaint.graph(1, PROMPTS), ["base", "sample"])
    base, filled = pictures(base), pictures(filled)
    assert np.abs(filled - base)[..., :HALF].max() * 255 < 0.5
    assert colours_of(filled[..., HALF:]) == [prompt.split()[0] for prompt in PROMPTS]
    left, right = (filled[..., column].max(axis=1) > 0.4 for column in (HALF - 1, HALF))
    assert (left == right).mean() > 0.9  # the piece goes on across the seam


@pytest.mark.parametrize(
    ("workload", "shape"), [(edit, "reference"), (references, "piece")], ids=["edit", "references"]
)
def test_the_colour_changes_and_the_shape_stays(server, workload, shape):
    """To the prompt's colour, or to that of the other reference, as the model is told none."""
    (given, edited), _ = sample_all(server, workload.graph(1, PROMPTS), [shape, "sample"])
    given, edited = pictures(given), pictures(edited)
    assert colours_of(edited) == [prompt.split()[0] for prompt in PROMPTS]
    assert colours_of(given) != colours_of(edited)
    # Brightest channels, which tinting leaves alone.
    shapes = np.concatenate([edited.max(axis=1), given.max(axis=1)]).reshape(2 * len(PROMPTS), -1)
    alike = np.corrcoef(shapes)[: len(PROMPTS), len(PROMPTS) :]
    assert np.diag(alike).min() > 0.95, alike


@pytest.mark.parametrize("workload", [inpaint, edit, references], ids=["inpaint", "edit", "references"])
def test_fastcache_stays_close_and_changes_nothing_when_off_or_idle(server, workload):
    graph = with_fastcache(workload.graph(2, PROMPTS))
    reference, _ = gets_along(server, graph, 30)
    off, report = sample(server, with_widgets(graph, block_threshold=0.0, token_threshold=0.0))
    assert report["computed_fraction"] == 1
    assert np.array_equal(off, reference)


def test_references_without_noise_rest_for_less_work_and_hardly_another_picture(server):
    graph = with_fastcache(references.graph(3, PROMPTS))
    reference, _ = sample(server, references.graph(3, PROMPTS))
    whole, report = sample(server, refined(graph, {"level": "stack"}))  # where tokens can rest
    resting, resting_report = sample(server, refined(graph, None, {}))
    rests = [any("reference pictures rest" in resting_report["reason_texts"][code] for code in codes)
             for codes in resting_report["reasons"]]  # fmt: skip
    assert sum(rests) >= 3 and not any(rests[:3]) and not any(rests[-2:]), resting_report["notes"]
    assert resting_report["computed_fraction"] < 0.95 * report["computed_fraction"]
    assert psnr(resting, reference) > psnr(whole, reference) - 3
