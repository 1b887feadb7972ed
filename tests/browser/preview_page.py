"""A person at the preview node of a loaded workflow: queues it, reads what is drawn, moves the pointer."""

from __future__ import annotations

import base64
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import ElementHandle, Page

from hosting.comfy_server import raise_failure
from tests.browser.conftest import wait_until_seen
from tests.unit.test_rendering import rendering

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

Colour = list[int]

# The node may lie in a subgraph, which is then the only one.
PREVIEW_NODE = """[...app.graph.nodes, ...app.graph.nodes.flatMap((node) => node.subgraph?.nodes ?? [])]
    .find((node) => node.widgets?.some((widget) => widget.type === "fastcache_skip_map"))"""
ELEMENT = f"() => {PREVIEW_NODE}.widgets.find((widget) => widget.type === 'fastcache_skip_map').element"
ENDED = "(element) => !['empty', 'live'].includes(element.dataset.state)"
CENTRE = f"""() => {{
    app.canvas.ds.scale = 1;
    app.canvas.centerOnNode({PREVIEW_NODE});
    app.canvas.setDirty(true, true);
}}"""
# The layout comes from the widget's own modules, the pixels from its canvas: a wrong layout reads wrong pixels.
LAYOUT = """async (element, [folder, report]) => {
    const { layoutMap } = await import(folder + "/lib/layout.mjs");
    const { readReport } = await import(folder + "/lib/report.mjs");
    const { frame, mode } = element.dataset;
    const { clientWidth, clientHeight } = element.querySelector("canvas");
    return layoutMap(readReport(report), clientWidth, clientHeight, { frame: Number(frame || 1) - 1, mode });
}"""
# A map of the test's own, on a node without widgets: its methods can be called, and what it applies is seen.
MOUNT = f"""async ([folder, width, height]) => {{
    const {{ SkipMap }} = await import(folder + "/lib/skip_map.mjs");
    app.graph.clear();
    const node = LiteGraph.createNode("VAEDecode");
    window.applied = [];
    const apply = (kind, value) => {{ applied.push([kind, value]); return `${{kind}}: ${{value}}`; }};
    window.map = new SkipMap({{ apply }});
    node.addDOMWidget("map", "fastcache_skip_map", map.element, {{ serialize: false, getMinHeight: () => 260 }});
    node.setSize([width, height]);
    app.graph.add(node); // Nodes 2.0 takes over the size that a node has now
    ({CENTRE})();
}}"""
WHAT_IF = """async ([folder, report, kind, threshold]) => {
    const { readReport } = await import(folder + "/lib/report.mjs");
    const { blockWhatIf, tokenWhatIf } = await import(folder + "/lib/whatif.mjs");
    const { masks, ...outcome } = (kind === "token" ? tokenWhatIf : blockWhatIf)(readReport(report), threshold);
    return { ...outcome, masks: masks?.map((mask) => [...mask]) ?? null };
}"""
COLOURS = """(element, points) => {
    const canvas = element.querySelector("canvas");
    const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const scale = canvas.width / canvas.clientWidth;
    return points.map(([x, y]) => {
        const at = 4 * (Math.floor(y * scale) * width + Math.floor(x * scale));
        return [...data.subarray(at, at + 3)];
    });
}"""


@dataclass
class PreviewPage:
    """The preview node of the workflow that is loaded in `page`."""

    page: Page
    server: ComfyServer
    web_folder: str

    def load(self, workflow: Path) -> None:
        """Load a workflow file as the frontend would, before its first run, and bring its preview node into view."""
        self.server.post("/history", {"clear": True})
        self.page.evaluate("(graph) => app.loadGraphData(graph)", json.loads(workflow.read_text(encoding="utf-8")))
        self.page.wait_for_function(f"() => {PREVIEW_NODE}")
        self.page.evaluate(CENTRE)
        wait_until_seen(self.page, ELEMENT)

    def mount(self, width: int = 460, height: int = 640) -> None:
        """Put a map of our own into an empty graph, as `window.map`."""
        self.page.evaluate(MOUNT, [self.web_folder, width, height])
        wait_until_seen(self.page, ELEMENT)

    def call(self, method: str, *values: Any) -> None:
        """Call a method of the map that was mounted."""
        self.page.evaluate("([method, values]) => { map[method](...values); }", [method, values])

    def what_if(self, report: dict, kind: str, threshold: float) -> dict[str, Any]:
        """What another threshold would have done."""
        return self.page.evaluate(WHAT_IF, [self.web_folder, report, kind, threshold])

    @property
    def element(self) -> ElementHandle:
        element = self.page.evaluate_handle(ELEMENT).as_element()
        assert element is not None, "The preview node has no skip map."
        return element

    @property
    def data(self) -> dict[str, str]:
        """The element's data attributes."""
        return self.element.evaluate("(element) => ({ ...element.dataset })")

    def text(self, part: str) -> str:
        """What stands in one part of the element: hover, totals, notes, message."""
        return self.element.eval_on_selector(f".{part}", "(part) => part.textContent")

    def missing_types(self) -> list[str]:
        """Types of nodes that this ComfyUI does not have; the frontend shows them in red."""
        script = (
            "() => app.graph.nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type])"
        )
        return [kind for kind in self.page.evaluate(script) if kind not in ("Note", "MarkdownNote")]

    def convert_to_subgraph(self) -> None:
        """Put the preview node into a subgraph of its own."""
        self.page.evaluate(f"() => {{ app.graph.convertToSubgraph(new Set([{PREVIEW_NODE}])); }}")

    def queue(self, timeout: float = 300) -> dict[str, Any]:
        """Queue the workflow from the page, wait until it has run, and return its history entry."""
        known = set(self.server.get("/history"))
        self.page.evaluate("() => app.queuePrompt(0)")
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            history = self.server.get("/history")
            for prompt_id in set(history) - known:
                raise_failure(history[prompt_id])
                self.page.wait_for_function(ENDED, arg=self.element)
                return history[prompt_id]
            self.page.wait_for_timeout(200)
        raise AssertionError(f"The workflow has not run within {timeout:.0f} s.")

    def receive(self, output: dict[str, Any]) -> None:
        """Give the node an output as the frontend does at the end of a run."""
        self.page.evaluate(f"(output) => {PREVIEW_NODE}.onExecuted(output)", output)

    def layout(self, report: dict) -> dict[str, Any]:
        """Where everything of this report lies on the canvas, which must show it."""
        return self.element.evaluate(LAYOUT, [self.web_folder, report])

    def colours(self, points: list[tuple[float, float]]) -> list[Colour]:
        """Colours of the canvas at points in its own pixels."""
        return self.element.evaluate(COLOURS, points)

    def cells(self, report: dict, parts: int = 1) -> list[list[list[Colour]]]:
        """Colours [evaluations][blocks][parts] of the grid's cells, each read in `parts` places side by side."""
        grid = self.layout(report)["grid"]
        shape = (len(report["computed"]), len(report["blocks"]), parts)
        width, inset = grid["cellWidth"] / parts, min(1, grid["cellHeight"] / 2)
        points = [
            (grid["x"] + evaluation * grid["cellWidth"] + part * width + min(1, width / 2), grid["rows"][block] + inset)
            for evaluation, block, part in np.ndindex(shape)
        ]
        return np.array(self.colours(points)).reshape(*shape, 3).tolist()

    def tiles(self, report: dict) -> list[dict[str, Any]]:
        """`sample`, `frame` and `colours` [rows][columns] of every token map that is shown."""
        tokens = self.layout(report)["tokens"]
        rows, columns = report["tokens"]["grid"][1:]
        cell = tokens["cell"]
        inset = min(1, cell / 2)
        tiles = []
        for tile in tokens["tiles"]:
            corners = [(tile["x"] + column * cell, tile["y"] + row * cell) for row, column in np.ndindex(rows, columns)]
            colours = self.colours([(x + inset, y + inset) for x, y in corners])
            tiles.append(tile | {"colours": np.array(colours).reshape(rows, columns, 3).tolist()})
        return tiles

    def press(self, key: str, part: str = ".evaluation input") -> None:
        """Press a key with the focus on a part, the evaluations' slider unless another one is named."""
        focused = self.element.query_selector(part)
        assert focused is not None
        focused.focus()
        self.page.keyboard.press(key)

    def click(self, part: str) -> None:
        """Click the centre of a part with the real pointer."""
        x, y = self.centre(part)
        self.page.mouse.click(x, y)

    def centre(self, part: str) -> tuple[float, float]:
        """Where a part lies on the page."""
        box = self.element.query_selector(part).bounding_box()
        assert box is not None, f"{part} is not visible."
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def point_at(self, x: float, y: float, *, click: bool = False) -> None:
        """Move the real pointer to a point of the canvas (or of the message in its place), in its own pixels."""
        box = self.element.query_selector(".stage").bounding_box()
        self.page.mouse.move(box["x"] + x, box["y"] + y)
        if click:
            self.page.mouse.click(box["x"] + x, box["y"] + y)


def report_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The report in the outputs of a history entry."""
    return next(output["fastcache_report"][0] for output in entry["outputs"].values() if "fastcache_report" in output)


def token_mask(report: dict, evaluation: int) -> np.ndarray:
    """1 for every computed token, [samples, frames, rows, columns]."""
    shape = [report["tokens"]["samples"], *report["tokens"]["grid"]]
    packed = np.frombuffer(base64.b64decode(report["tokens"]["computed"][evaluation]), np.uint8)
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)


def height(curve: dict[str, Any], value: float) -> float:
    """Where a value lies on the logarithmic axis."""
    low, high = curve["axis"]["low"], curve["axis"]["high"]
    return curve["y"] + curve["height"] * (1 - math.log(value / low) / math.log(high / low))


def column(grid: dict[str, Any], evaluation: int) -> float:
    return grid["x"] + (evaluation + 0.5) * grid["cellWidth"]


def check_curve(preview: PreviewPage, report: dict, middle: list[float | None], threshold: float) -> None:
    """Points lie where these values belong, coloured by their side of the threshold, whose line is drawn."""
    layout = preview.layout(report)
    grid, curve = layout["grid"], layout["curve"]
    points = {e: (column(grid, e), height(curve, value)) for e, value in enumerate(middle) if value is not None}
    rings = {e: height(curve, value) for e, value in enumerate(curve["curve"]["dots"]) if value}
    points = {e: (x, y) for e, (x, y) in points.items() if abs(rings.get(e, 0) - y) > 5}
    due = [list(rendering.shade(middle[e] > threshold)) for e in points]
    assert preview.colours(list(points.values())) == due
    text = [
        int(part) for part in preview.element.evaluate("(e) => getComputedStyle(e).color").strip("rgb()").split(",")
    ]
    y = height(curve, threshold)
    free = [e for e, (_, there) in points.items() if abs(there - y) > 6 and 2 < e < len(middle) - 2]
    assert free
    assert preview.colours([(column(grid, e) + 2, y) for e in free]) == [text] * len(free)
