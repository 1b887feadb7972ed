"""The compare node in the real frontend: its text and pictures, its help page, its names in Chinese."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import READY, ROOT, on_each_frontend, wait_until_seen

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

# The node may lie in a subgraph, which is then the only one.
ALL = "[app.graph, ...app.graph.subgraphs.values()].flatMap((graph) => graph.nodes)"
NODE = f'{ALL}.find((node) => node.comfyClass === "FastCacheCompare")'
NO_ID = "00000000-0000-0000-0000-000000000000"  # of a graph that was cleared
ELEMENT = f"() => {NODE}.widgets.find((widget) => widget.type === 'fastcache_text').element"
# Three pairs of flat images, one of them differing in one channel only.
GRAPH = """() => {
    app.graph.clear();
    const [reference, image, compare] = ["EmptyImage", "EmptyImage", "FastCacheCompare"].map((type) => {
        const node = LiteGraph.createNode(type);
        app.graph.add(node);
        return node;
    });
    [reference, image].forEach((node, place) => {
        node.pos = [50, 50 + 250 * place];
        [64, 48, 3, 0x304050 * place].forEach((value, widget) => { node.widgets[widget].value = value; });
        node.connect(0, compare, place);
    });
    compare.pos = [450, 50];
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [150, 80];
    app.canvas.setDirty(true, true);
}"""


@pytest.fixture
def compare(page: Page) -> Page:
    """A page with the node and two batches of images."""
    page.evaluate(GRAPH)
    wait_until_seen(page, ELEMENT)
    return page


def shown(page: Page) -> str:
    return page.evaluate(f"({ELEMENT})().textContent")


def queue(page: Page) -> dict:
    """Queue the graph, wait until its text is there, and return what the frontend holds of the node's outputs."""
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function(f"() => ({ELEMENT})().textContent.startsWith('3 pairs')")
    return page.evaluate("() => Object.values(app.nodeOutputs).find((output) => output.text)")


def test_node_shows_text_and_pictures(compare: Page, nodes: str, screenshots: Path) -> None:
    assert shown(compare) == "Run the workflow to compare the images."
    output = queue(compare)
    assert shown(compare) == output["text"][0]
    assert shown(compare).splitlines()[0] == "3 pairs of 64 x 48 pixels."
    assert len(output["images"]) == 3
    loaded = {
        "classic": f"() => {NODE}.imgs?.length === 3 && {NODE}.imgs.every((image) => image.naturalWidth > 0)",
        "nodes2": "() => [...document.querySelectorAll('[data-node-id] img')].some((image) => image.naturalWidth > 0)",
    }
    compare.wait_for_function(loaded[nodes])
    compare.screenshot(path=screenshots / f"compare_{nodes}.png")


@on_each_frontend
def test_result_taken_over_from_another_workflow_is_shown(compare: Page) -> None:
    """ComfyUI computes nothing twice: the same nodes in a new workflow get what an earlier one's run put out."""
    queue(compare)
    compare.evaluate(GRAPH)
    compare.evaluate("() => { app.graph.id = crypto.randomUUID(); }")
    wait_until_seen(compare, ELEMENT)
    assert shown(compare) == "Run the workflow to compare the images."
    queue(compare)


WORD = """(element) => {
    const range = document.createRange();
    range.setStart(element.firstChild, 0);
    range.setEnd(element.firstChild, 7);
    const { left, top, width, height } = range.getBoundingClientRect();
    return [left, top + height / 2, left + width, top + height / 2];
}"""
# Whether the frontend took the last copy for one of nodes.
WATCH_COPIES = """() => {
    const note = (event) => setTimeout(() => { window.taken = event.defaultPrevented; });
    document.addEventListener("copy", note, true);
}"""
PASTE = """() => {
    const field = document.body.appendChild(document.createElement("textarea"));
    field.id = "pasted";
    field.focus();
}"""
HEADER = f"""() => {{
    const node = {NODE};
    const {{ left, top }} = app.canvas.canvas.getBoundingClientRect();
    const {{ scale, offset }} = app.canvas.ds;
    return [left + (node.pos[0] + offset[0] + 100) * scale, top + (node.pos[1] + offset[1] - 15) * scale];
}}"""


def pasted(page: Page) -> str:
    """What a field gets of what was copied."""
    page.evaluate(PASTE)
    page.keyboard.press("Control+v")
    text = page.locator("#pasted").input_value()
    page.evaluate("() => document.getElementById('pasted').remove()")
    return text


def select_word(page: Page) -> None:
    """As a person does, with the pointer."""
    left, top, right, bottom = page.evaluate_handle(ELEMENT).as_element().evaluate(WORD)
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(right, bottom, steps=4)
    page.mouse.up()
    assert page.evaluate("() => document.getSelection().toString()") == "3 pairs"


def test_selected_text_is_copied_and_nodes_are_again_afterwards(compare: Page) -> None:
    queue(compare)
    compare.evaluate(WATCH_COPIES)
    select_word(compare)
    compare.keyboard.press("Control+c")
    compare.wait_for_function("() => window.taken === false")
    assert pasted(compare) == "3 pairs"
    select_word(compare)
    compare.mouse.click(*compare.evaluate(HEADER))
    compare.keyboard.press("Control+c")
    compare.wait_for_function("() => window.taken === true")


EXECUTED = """(detail) => { app.api.dispatchEvent(new CustomEvent("executed", { detail })); }"""
INTO_SUBGRAPH = f"() => {{ app.graph.convertToSubgraph(new Set([{NODE}])); }}"
PATH = f"""() => {{
    const host = app.graph.nodes.find((node) => node.subgraph);
    return host ? `${{host.id}}:${{host.subgraph.nodes[0].id}}` : String({NODE}.id);
}}"""


@on_each_frontend
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in a subgraph"])
def test_text_that_came_while_its_workflow_was_not_in_view_is_shown_there(compare: Page, inside: bool) -> None:
    compare.evaluate("() => { app.graph.id = crypto.randomUUID(); }")
    if inside:
        compare.evaluate(INTO_SUBGRAPH)
    path, graph = compare.evaluate(f"() => [({PATH})(), JSON.parse(JSON.stringify(app.graph.serialize()))]")
    compare.evaluate("() => { app.graph.clear(); app.graph.id = crypto.randomUUID(); }")
    output = {"text": ["came meanwhile"], "fastcache_workflow": [graph["id"]]}
    compare.evaluate(EXECUTED, {"node": path, "display_node": path, "prompt_id": "prompt", "output": output})
    compare.evaluate("(graph) => app.loadGraphData(graph)", graph)
    compare.wait_for_function(f"() => ({ELEMENT})().textContent === 'came meanwhile'")


# Outputs of a graph with this id, whose text is the id.
HAND_OUT = """([outputs, id]) => {
    for (const output of Object.values(outputs)) Object.assign(output, { fastcache_workflow: [id], text: [id] });
    app.nodeOutputs = outputs;
}"""


@on_each_frontend
def test_history_fills_the_text(compare: Page, server: ComfyServer) -> None:
    """Opening a job from the history loads its workflow, then hands out its outputs; the text is not in the file.

    A graph that had been cleared has no id when it is queued, and one of its own once it is loaded from the history.
    """
    queue(compare)
    server.post("/history", {"clear": True})  # else the node would ask for it by itself
    graph, outputs = compare.evaluate("() => JSON.parse(JSON.stringify([app.graph.serialize(), app.nodeOutputs]))")
    compare.reload()  # the page would still know the text
    compare.wait_for_function(READY)
    compare.evaluate("(graph) => app.loadGraphData(graph)", graph)
    assert shown(compare) == "Run the workflow to compare the images."
    compare.evaluate("(outputs) => { app.nodeOutputs = outputs; }", outputs)
    assert shown(compare).startswith("3 pairs")
    compare.evaluate(HAND_OUT, [outputs, "of another workflow"])
    assert shown(compare).startswith("3 pairs")
    compare.evaluate(HAND_OUT, [outputs, NO_ID])
    assert shown(compare) == NO_ID


@pytest.mark.parametrize("nodes", ["classic"], indirect=True)
def test_help_page_appears(compare: Page, screenshots: Path, complaints: list[str]) -> None:
    """The page is the same however nodes are drawn."""
    compare.evaluate(f"() => {{ app.canvas.selectNode({NODE}); app.canvas.setDirty(true, true); }}")
    # Not a click: hints that a new profile gets may lie above the button.
    compare.locator("[data-testid=info-button]").first.dispatch_event("click")
    page = compare.locator(".node-help-content")
    page.get_by_role("heading", name="What goes wrong").wait_for()
    figure = page.locator("img").first
    compare.wait_for_function("(image) => image.naturalWidth > 0", arg=figure.element_handle())
    compare.screenshot(path=screenshots / "compare_help.png")
    # The frontend asks for a page of its own language first.
    assert all("404" in complaint for complaint in complaints), complaints
    complaints.clear()


@pytest.fixture
def chinese(page: Page, server: ComfyServer) -> Iterator[Page]:
    """The page with Chinese as the frontend's language."""
    if page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__").startswith("1.32."):
        pytest.skip("frontend 1.32 puts its own texts in place of the packs' when it loads a language")
    server.post("/settings", {"Comfy.Locale": "zh"})
    page.reload()
    page.wait_for_function(READY)
    yield page
    server.post("/settings", {"Comfy.Locale": "en"})


@on_each_frontend
def test_chinese_names_are_on_the_nodes(chinese: Page, nodes: str, screenshots: Path) -> None:
    chinese.evaluate(GRAPH)
    texts = json.loads((ROOT / "locales/zh/nodeDefs.json").read_text(encoding="utf-8"))["FastCacheCompare"]
    title, inputs, outputs = chinese.evaluate(
        f"() => {{ const node = {NODE}; const names = (slots) => slots.map((slot) => slot.localized_name);"
        "return [node.title, names(node.inputs), names(node.outputs)]; }"
    )
    assert title == texts["display_name"]
    assert inputs == [entry["name"] for entry in texts["inputs"].values()]
    assert outputs == [entry["name"] for entry in texts["outputs"].values()]
    chinese.screenshot(path=screenshots / f"compare_chinese_{nodes}.png")
