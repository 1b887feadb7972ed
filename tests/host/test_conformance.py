"""Every family that this ComfyUI has, tried on a toy model: exact, or with a reason why it is left alone."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import pytest

from demo.graphs import Graph, node

from .conformance import AT_REST, EXACT, TOYS, Row, examine, last_reasons, off_by, repeat_graph
from .graphs import sample
from .table import ROOT, cells, version_of

DOCUMENT = ROOT / "docs" / "families.md"


@pytest.fixture(scope="session")
def documented(server) -> list[str]:
    """The rows of the documented table for this version of ComfyUI; none where the table does not have the version."""
    version = version_of(server)
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ") and version in line.split(" | ")[-1]]


def check(row: Row, documented: list[str]) -> None:
    if row.identical is None:
        pytest.skip(row.reason)
    assert row.exact, row
    told = "| " + " | ".join(cells(dataclasses.asdict(row)))
    assert not documented or any(line.startswith(told) for line in documented), f"not in {DOCUMENT.name}: {told}"


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if toy.family])
def test_a_family_is_exact_or_says_why_not(server, missing, documented, name):
    check(examine(server, name, missing), documented)


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if toy.references])
def test_a_family_with_reference_or_control_tokens_is_exact_or_says_why_not(server, missing, documented, name):
    check(examine(server, name, missing, references=True), documented)


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


@pytest.mark.parametrize("config", sorted({toy.config for toy in TOYS.values()}))
def test_a_model_that_a_version_lacks_is_missing_alone(monkeypatch, config):
    there = {toy.config for toy in TOYS.values()} - {config}
    lacking = SimpleNamespace(**dict.fromkeys(there))
    monkeypatch.setitem(sys.modules, "comfy", SimpleNamespace(supported_models=lacking))
    monkeypatch.setitem(sys.modules, "comfy.supported_models", lacking)
    told = {name: toy.why_not_here() for name, toy in TOYS.items()}
    missing = {name for name, why in told.items() if why == f"this ComfyUI has no {config}"}
    assert missing == {name for name, toy in TOYS.items() if toy.config == config}
    assert all(why is None for name, why in told.items() if name not in missing and TOYS[name].needs is None)
