"""The shipped workflows in a real ComfyUI: it knows their nodes, our widgets have its defaults, it serves the files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from hosting.comfy_server import ComfyServer
from tests.unit.workflow_files import NOTES, WORKFLOWS, read

SET_FOR_THE_MODEL = ("FastCacheCalibrate", "FastCacheSaveProfile")  # a sampler's settings, a name
WIDGETS = ("FLOAT", "INT", "STRING", "BOOLEAN", "COMBO")
every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


@every_workflow
def test_every_node_is_known(server: ComfyServer, path: Path) -> None:
    known = server.object_info().keys() | NOTES
    assert {node["type"] for node in read(path)["nodes"]} <= known


@every_workflow
def test_our_widgets_have_their_defaults(server: ComfyServer, path: Path) -> None:
    info = server.object_info()
    ours = [node for node in read(path)["nodes"] if node["properties"].get("cnr_id") == "fastcache"]
    assert ours
    for node in ours:
        if node["type"] in SET_FOR_THE_MODEL:
            continue
        inputs = info[node["type"]]["input"]
        specs = [spec for part in ("required", "optional") for spec in inputs.get(part, {}).values()]
        defaults = [spec[1]["default"] for spec in specs if isinstance(spec[0], list) or spec[0] in WIDGETS]
        assert node["widgets_values"] == defaults


def test_templates_are_listed_and_served(server: ComfyServer) -> None:
    templates = server.get("/workflow_templates")
    (pack,) = (pack for pack, names in templates.items() if WORKFLOWS[0].stem in names)
    assert sorted(templates[pack]) == [path.stem for path in WORKFLOWS]
    for path in WORKFLOWS:
        for file in (path, path.with_suffix(".jpg")):
            served = server.process.fetch(f"/api/workflow_templates/{quote(pack)}/{file.name}")
            assert served == file.read_bytes()
