"""The tables of docs/scaling.md are those of benchmarks/scaling.py, and follow from its formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import scaling
from benchmarks.scaling import Shape
from fastcache_core.ranks import Ranks

from . import split_tokens as split

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/scaling.md"
SMALL = Shape(10, 2, 4, (2, 3), 30, branches=2, samples=3)


@pytest.mark.parametrize("table", [scaling.memory_table, scaling.work_table, scaling.exchange_table])
def test_the_document_has_the_tables_of_today(table):
    assert table() in DOCUMENT.read_text(encoding="utf-8")


def test_small_numbers_can_be_counted_by_hand():
    state = 3 * 10 * 4 * 2  # bytes of the image's tokens
    latents = 3 * 30 * 4
    assert scaling.kept_bytes(SMALL, "stack") == 6 * latents + state + 2 * 2 * state
    assert scaling.kept_bytes(SMALL, "stack", order=0) == 6 * latents + state + 2 * state
    assert scaling.kept_bytes(SMALL, "model_output") == latents * (6 + 1 + 4)
    assert scaling.kept_bytes(SMALL, "block") == 6 * latents + state + 2 * 2 * 3 * (4 * 12 + 10) * 4 * 2
    assert scaling.block_operations(SMALL) == 3 * 12 * (24 * 16 + 4 * 12 * 4)
    assert scaling.prediction_bytes(SMALL) == 6 * 3 * 12 * 4 * 2


def test_what_selecting_tokens_adds_can_be_counted_by_hand():
    state, blocks, samples, branches = 3 * 10 * 4 * 2, 5, 3, 2
    keys = blocks * samples * 12 * 4 * 2  # of one branch, as its values
    sigmas = 8 * samples * blocks * 12  # of its keys, as of its values
    view = state + 4 * samples * 10
    for level, tokens in {"stack": 10, "block": 2 * 10 + 2 * 12 + 10}.items():
        residuals = 8 * samples * tokens
        assert scaling.selector_bytes(SMALL, level) == view + branches * (2 * (2 * keys + sigmas) + residuals)
        assert scaling.selector_bytes(SMALL, level, order=0) == view + branches * (2 * (keys + sigmas) + residuals)
        # Of three anchors of residuals, keys and values need two.
        assert scaling.selector_bytes(SMALL, level, order=2) == scaling.selector_bytes(SMALL, level)


def test_from_the_least_width_on_predicting_takes_at_most_its_part():
    width = round(scaling.least_width(300, 4096))
    shape = Shape(4096, 0, width, (1,), 1)
    part = scaling.prediction_bytes(shape) * 300 / scaling.block_operations(shape)
    assert part == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("level, sites", [("stack", 1), ("block", split.BLOCKS)])
def test_so_many_numbers_are_exchanged(monkeypatch, level, sites):
    """The largest exchange of a run, in a group of one process."""
    dist = torch.distributed
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    sent = []
    summed = Ranks._sum
    monkeypatch.setattr(Ranks, "_sum", lambda ranks, tensor: sent.append(tensor.nbytes) or summed(ranks, tensor))
    try:
        scenario = split.SCENARIOS[level]
        split.sample(split.new_run(scenario, group=dist.group.WORLD), split.ToyDiT())
    finally:
        dist.destroy_process_group()
    expected = scaling.exchanged_bytes(1, sites, len(split.BRANCHES), split.SAMPLES)
    # The one that also tells of what was added between blocks, and of the self-check, is larger by a few numbers.
    assert (
        sorted(sent)[len(sent) // 4] <= expected <= max(sent) <= expected + 4 * (1 + len(split.BRANCHES) * split.BLOCKS)
    )
