"""Every family that this ComfyUI has, tried on a toy model: exact, or with a reason why it is left alone."""

from __future__ import annotations

import pytest

from demo.graphs import Graph, node

from .conformance import AT_REST, EXACT, TOYS, Row, examine, last_reasons, missing_in, off_by, repeat_graph
from .graphs import sample


@pytest.fixture(scope="session")
def missing(server):
    return missing_in(server)


def check(row: Row) -> None:
    if row.identical is None:
        pytest.skip(row.reason)
    assert row.exact, row


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if toy.family])
def test_a_family_is_exact_or_says_why_not(server, missing, name):
    check(examine(server, name, missing))


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if toy.references])
def test_a_family_with_reference_or_control_tokens_is_exact_or_says_why_not(server, missing, name):
    check(examine(server, name, missing, references=True))


def split_graph(name: str, fastcache: dict | None = None) -> Graph:
    """Conditionings share a batch for four evaluations, then every one has its own."""
    graph = repeat_graph(name, AT_REST, fastcache)
    graph["split"] = node("FastCacheToySplit", model=["toy", 0], after=4)
    graph["sample" if fastcache is None else "fastcache"]["inputs"]["model"] = ["split", 0]
    return graph


@pytest.mark.parametrize("name", ["hunyuan3d", "hunyuan3d_2_1"])
def test_a_conditioning_is_itself_when_its_batch_is_split(server, name):
    """Also where the model swaps the halves of its batch."""
    computed, _ = sample(server, split_graph(name))
    again, report = sample(server, split_graph(name, {"block_threshold": 10.0}))
    assert all(reason.startswith("predicted: ") for reason in last_reasons(report))
    assert off_by(again, computed) <= EXACT
