"""Between a host's calls of blocks and the engine: calls that are not the hidden state's, and what is recorded."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from tests.unit.schemas import PACK, pack

pack()
blocks = importlib.import_module(f"{PACK}.nodes.blocks")
adapters = importlib.import_module(f"{PACK}.fastcache_core.adapters")
attention = importlib.import_module(f"{PACK}.fastcache_core.adapters.attention")
calls = importlib.import_module(f"{PACK}.fastcache_core.calls")
config = importlib.import_module(f"{PACK}.fastcache_core.config")
engine = importlib.import_module(f"{PACK}.fastcache_core.engine")
unknown = importlib.import_module(f"{PACK}.fastcache_core.adapters.unknown")
Unrecorded = importlib.import_module(f"{PACK}.nodes.unrecorded").Unrecorded

SIGMAS = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
PREFIX, IMAGE = 5, 12


class Adding(nn.Module):
    """y = x + 1, in place; counts its calls by the tokens it is given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1), requires_grad=False)
        self.calls: list[int] = []

    def forward(self, x: Tensor, prefix_len: int) -> Tensor:
        self.calls.append(x.shape[1])
        return x.add_(self.weight)


class Prefixed(nn.Module):
    """What comes before the image goes through the same blocks in turn with it, in the first call only."""

    def __init__(self):
        super().__init__()
        self.transformer_blocks = nn.ModuleList(Adding() for _ in range(4))
        self.done: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        prefix = torch.zeros(len(x), PREFIX, 2) if self.done is None else None
        h = x.clone()
        for block in self.transformer_blocks:
            if prefix is not None:
                prefix = block(prefix, PREFIX)
            h = block(h, 0)
        self.done = prefix if self.done is None else self.done
        return h


def sample(model: Prefixed, family) -> tuple[list[Tensor], engine.Run]:
    """Every evaluation's output, at level block, where whatever may be is predicted."""
    settings = config.BlockCacheConfig(10.0, rule="change", level="block", warmup_evaluations=3, min_steps=1)
    names = [name for _, _, name in family.blocks(model)]
    run = engine.Run(config.FastCacheConfig(settings), names, family.ranges(model), SIGMAS, joined=family.joined)
    reached, outputs = blocks.Blocks(run, family, model, nullcontext), []
    for index, sigma in enumerate(SIGMAS[:-1]):
        x = torch.full((1, IMAGE, 2), float(index + 1))
        run.begin_evaluation(sigma)
        run.begin_call(["cond"])
        reached.begin_call((1, 2, 3, 4))
        with reached.reached():
            outputs.append(model(x))
        run.end_evaluation()
    run.finish()
    return outputs, run


def test_what_comes_before_the_image_of_qwen_image_21_is_not_looked_at():
    family = next(family for family in adapters.FAMILIES if family.name == "qwen_image_21")
    model = Prefixed()
    outputs, run = sample(model, family)
    assert [out.unique().tolist() for out in outputs] == [[index + 5.0] for index in range(10)]
    assert model.done.unique().tolist() == [4.0]
    assert run.report.to_json()["notes"] == []
    assert run.report.grid == (1, 3, 4)
    assert model.transformer_blocks[0].calls[:3] == [PREFIX, IMAGE, IMAGE]
    assert 0 < run.report.computed_fraction < 0.7


def test_blocks_of_an_unknown_model_that_see_streams_of_several_lengths_in_one_call_are_left_alone():
    model = Prefixed()
    outputs, run = sample(model, unknown.unknown_family(model))
    assert [out.unique().tolist() for out in outputs] == [[index + 5.0] for index in range(10)]
    assert model.done.unique().tolist() == [4.0]
    assert [block.calls for block in model.transformer_blocks] == [[PREFIX, *[IMAGE] * 10]] * 4
    sentence = "The blocks in transformer_blocks see streams of several lengths in one call; they are left alone."
    assert run.report.to_json()["notes"][0] == sentence


@pytest.fixture
def recorded() -> list[str]:
    return []


def pausing(events: list[str]):
    @contextmanager
    def paused() -> Iterator[None]:
        events.append("pause")
        try:
            yield
        finally:
            events.append("resume")

    return paused


def test_a_block_runs_within_the_record_and_the_rest_outside(recorded):
    with Unrecorded(pausing(recorded)) as ours:
        recorded.append("before")
        with ours.lifted():
            recorded.append("block")
        recorded.append("after")
    assert recorded == ["pause", "before", "resume", "block", "pause", "after", "resume"]


def test_a_block_that_fails_leaves_the_record_as_it_was(recorded):
    ours = Unrecorded(pausing(recorded))
    with pytest.raises(RuntimeError, match="no memory"), ours, ours.lifted():
        raise RuntimeError("no memory")
    assert recorded == ["pause", "resume", "pause", "resume"]


def test_keys_and_values_are_kept_outside_of_the_record(recorded):
    def keep(number, k, v, mask):
        recorded.append("keep")

    def plain(q, k, v, heads, **options):
        recorded.append("attention")
        return q

    whole = calls.Span(0, 4, 4)
    call = calls.BlockCall(0, {"x": torch.zeros(1, 4, 2)}, ("x", whole), whole, lambda streams, attending: streams)
    attending = calls.Attending(None, keep=keep)
    options = attention.attend_through({}, attending, call, pausing(recorded))
    q = torch.zeros(1, 4, 2)
    options[attention.OVERRIDE](plain, q, q, q, 1)
    assert recorded == ["pause", "keep", "resume", "attention"]
