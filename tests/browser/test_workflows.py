"""Every shipped workflow in the real frontends: it opens as it was saved, nothing lies on top of anything, and only the
models' files are missing for a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import ROOT, on_each_frontend
from tests.unit.workflow_files import DEMO, WORKFLOWS, comparison, read

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

# Which inputs name files; no other may be refused where the models are not there.
FILES = {
    "UNETLoader": {"unet_name"},
    "CheckpointLoaderSimple": {"ckpt_name"},
    "CLIPLoader": {"clip_name"},
    "DualCLIPLoader": {"clip_name1", "clip_name2"},
    "VAELoader": {"vae_name"},
    "LoadImage": {"image"},
}
EXAMPLE_PICTURE = "example.png"  # comes with ComfyUI, and is not in the tests' base directory
MARGIN = 1  # of rounding, in units of the graph
# Every link as [source, slot, target, name of the input]: what the file says and what the frontend made of it.
LINKS = """() => [...app.graph.links.values()].map((link) => {
    const target = app.graph.getNodeById(link.target_id);
    const source = app.graph.getNodeById(link.origin_id);
    if (target.inputs[link.target_slot].link !== link.id) throw new Error(`${target.type} has lost link ${link.id}`);
    if (!source.outputs[link.origin_slot].links.includes(link.id)) throw new Error(`${source.type} lost ${link.id}`);
    return [Number(source.id), link.origin_slot, Number(target.id), target.inputs[link.target_slot].name].join();
}).sort()"""
WIDGETS = """() => Object.fromEntries(app.graph.nodes.filter((node) => node.widgets).map((node) =>
    [Number(node.id), node.widgets.filter((widget) => widget.serialize !== false).map((widget) => widget.value)]))"""
MISSING = """() => app.graph.nodes.map((node) => node.type)
    .filter((type) => type !== "MarkdownNote" && !LiteGraph.registered_node_types[type])"""
# Boxes [left, top, right, bottom] in units of the graph. In Nodes 2.0 the elements say how large nodes are.
BOXES = """(nodes2) => {
    const canvas = app.canvas.canvas.getBoundingClientRect();
    const { scale, offset } = app.canvas.ds;
    const drawn = (node) => {
        const box = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect();
        const place = (value, axis) => (value - [canvas.left, canvas.top][axis]) / scale - offset[axis];
        return [place(box.left, 0), place(box.top, 1), place(box.right, 0), place(box.bottom, 1)];
    };
    const stored = (node) => {
        const title = LiteGraph.NODE_TITLE_HEIGHT;
        return [node.pos[0], node.pos[1] - title, node.pos[0] + node.size[0], node.pos[1] + node.size[1]];
    };
    return {
        nodes: app.graph.nodes.map((node) => ({ id: Number(node.id), name: `${node.id} ${node.title}`,
            note: node.type === "MarkdownNote", box: nodes2 ? drawn(node) : stored(node) })),
        groups: app.graph.groups.map(({ title, pos, size }) =>
            ({ title, box: [pos[0], pos[1], pos[0] + size[0], pos[1] + size[1]] })),
    };
}"""
FIT = """(boxes) => {
    const least = (axis) => Math.min(...boxes.map((box) => box[axis]));
    const most = (axis) => Math.max(...boxes.map((box) => box[axis]));
    const { ds } = app.canvas;
    ds.scale = Math.min((innerWidth - 120) / (most(2) - least(0)), (innerHeight - 120) / (most(3) - least(1)));
    ds.offset = [80 / ds.scale - least(0), 80 / ds.scale - least(1)];
    app.canvas.setDirty(true, true);
}"""
SWITCH_ON = "(ids) => ids.forEach((id) => { app.graph.getNodeById(id).mode = 0; })"
PROMPT = "async () => (await app.graphToPrompt()).output"


@pytest.fixture
def pictures() -> Path:
    """Where a picture of every workflow is left."""
    folder = ROOT / "out/browser/workflows"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@on_each_frontend
def test_all_open_clean(
    page: Page, server: ComfyServer, frontend: str, nodes: str, pictures: Path, complaints: list[str]
) -> None:
    """One page for all of them: opening ComfyUI takes longer than opening a workflow."""
    for path in WORKFLOWS:
        graph = read(path)
        page.evaluate("(graph) => app.loadGraphData(graph)", graph)
        page.evaluate(FIT, boxes_of(page, nodes))
        page.wait_for_timeout(500)
        page.screenshot(path=pictures / f"{path.stem}_{frontend}.png")
        assert page.evaluate(MISSING) == [], path
        assert page.evaluate(LINKS) == sorted(links_in(graph)), path
        widgets = page.evaluate(WIDGETS)
        for node in graph["nodes"]:  # newer ComfyUI may have appended widgets to its nodes
            saved = node["widgets_values"]
            assert widgets.get(str(node["id"]), [])[: len(saved)] == saved, (path, node["type"])
        check_layout(page.evaluate(BOXES, nodes == "nodes2"))
        if path != DEMO:  # the demo's model is there: it would run
            models = {model["name"] for node in graph["nodes"] for model in node["properties"].get("models", [])}
            check_refusal(server, page, models)
            page.evaluate(SWITCH_ON, [node["id"] for node in comparison(graph)])
            check_refusal(server, page, models)
        assert complaints == [], path


def boxes_of(page: Page, nodes: str) -> list[list[float]]:
    """What a view of the whole graph has to hold."""
    boxes = page.evaluate(BOXES, nodes == "nodes2")
    return [one["box"] for one in boxes["nodes"] + boxes["groups"]]


def links_in(graph: dict[str, Any]) -> list[str]:
    """The links of a file, as LINKS tells those of the page."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    return [
        f"{source},{slot},{target},{nodes[target]['inputs'][place]['name']}"
        for _, source, slot, target, place, _ in graph["links"]
    ]


def check_layout(boxes: dict[str, list[dict[str, Any]]]) -> None:
    """No node lies on another, and every node but the note lies in one group."""
    nodes, groups = boxes["nodes"], boxes["groups"]
    for place, one in enumerate(nodes):
        for other in nodes[place + 1 :]:
            assert not overlap(one["box"], other["box"]), f"{one['name']} lies on {other['name']}"
        around = [group["title"] for group in groups if inside(one["box"], group["box"])]
        touched = [group["title"] for group in groups if overlap(one["box"], group["box"])]
        assert around == touched and len(around) == (0 if one["note"] else 1), (one, around, touched)


def overlap(one: list[float], other: list[float]) -> bool:
    """Whether two boxes share more than a margin."""
    return all(one[axis] + MARGIN < other[axis + 2] and other[axis] + MARGIN < one[axis + 2] for axis in (0, 1))


def inside(inner: list[float], outer: list[float]) -> bool:
    """Whether one box lies within another."""
    begins = all(outer[axis] <= inner[axis] + MARGIN for axis in (0, 1))
    return begins and all(inner[axis] <= outer[axis] + MARGIN for axis in (2, 3))


def check_refusal(server: ComfyServer, page: Page, models: set[str]) -> None:
    """ComfyUI's own validation misses the models' files, all of them, and nothing else."""
    answer = page.request.post(f"{server.url}/prompt", data={"prompt": page.evaluate(PROMPT)})
    assert answer.status == 400, "Nothing was missing, so that the workflow was queued."
    missing = set()
    for node in answer.json()["node_errors"].values():
        for error in node["errors"]:
            named = error["extra_info"]["input_name"]
            assert named in FILES.get(node["class_type"], ()), (node["class_type"], error)
            missing.add(error["extra_info"].get("received_value", EXAMPLE_PICTURE))
    assert missing - {EXAMPLE_PICTURE} == models
