"""The shipped workflows: known nodes, links that resolve, our widgets at their defaults, fixed seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
NOTES = {"MarkdownNote", "Note"}


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_every_node_is_known(server, workflow):
    known = server.object_info().keys() | NOTES
    assert {node["type"] for node in workflow["nodes"]} <= known


def test_links_resolve_and_types_agree(workflow):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, slot, target, place, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == link
        assert kind in nodes[target]["inputs"][place]["type"].split(",")
    linked = {entry["link"] for node in nodes.values() for entry in node.get("inputs", [])} - {None}
    assert linked == {link[0] for link in workflow["links"]}


def test_our_widgets_have_their_defaults(server, workflow):
    info = server.object_info()["FastCache"]["input"]["required"]
    defaults = [spec[1]["default"] for spec in info.values() if "default" in spec[1]]
    ours = [node for node in workflow["nodes"] if node["type"] == "FastCache"]
    assert ours and all(node["widgets_values"] == defaults for node in ours)


def test_seeds_are_fixed_and_our_nodes_name_their_pack(workflow):
    for node in workflow["nodes"]:
        if node["type"] == "KSampler":
            assert node["widgets_values"][1] == "fixed"
        if node["type"] in ("FastCache", "FastCachePreview"):
            assert node["properties"]["cnr_id"] == "fastcache"
