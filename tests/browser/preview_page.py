"""A person at the preview node of a loaded workflow: queues it, reads what is drawn, moves the pointer."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import ElementHandle, Page

from hosting.comfy_server import raise_failure

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

Colour = list[int]

# The node may lie in a subgraph, which is then the only one.
PREVIEW_NODE = """[...app.graph.nodes, ...app.graph.nodes.flatMap((node) => node.subgraph?.nodes ?? [])]
    .find((node) => node.comfyClass === "FastCachePreview")"""
ELEMENT = f"() => {PREVIEW_NODE}.widgets.find((widget) => widget.type === 'fastcache_skip_map').element"
ENDED = "(element) => !['empty', 'live'].includes(element.dataset.state)"
CENTRE = f"""() => {{
    app.canvas.ds.scale = 1;
    app.canvas.centerOnNode({PREVIEW_NODE});
    app.canvas.setDirty(true, true);
}}"""
# The layout comes from the widget's own module, the pixels from its canvas: a wrong layout reads wrong pixels.
DRAWN = """async (element, [folder, report]) => {
    const { layoutMap } = await import(folder + "/lib/layout.mjs");
    const { readReport } = await import(folder + "/lib/report.mjs");
    const canvas = element.querySelector("canvas");
    const { clientWidth, clientHeight } = canvas;
    const { grid, tokens } = layoutMap(readReport(report), clientWidth, clientHeight);
    const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const scale = canvas.width / clientWidth;
    const colour = (x, y) => {
        const at = 4 * (Math.floor(y * scale) * width + Math.floor(x * scale));
        return [...data.subarray(at, at + 3)];
    };
    const size = { height: report.tokens.grid[1], width: report.tokens.grid[2] };
    const numbers = (count) => Array.from({ length: count }, (_, i) => i);
    const inset = (cell) => Math.min(1, cell / 2);
    return {
        grid,
        cells: report.computed.map((row, evaluation) => row.map((_, block) => colour(
            grid.x + evaluation * grid.cellWidth + inset(grid.cellWidth), grid.rows[block] + inset(grid.cellHeight)))),
        tiles: tokens.tiles.map(({ x, y, sample, frame }) => ({ sample, frame, colours:
            numbers(size.height).map((row) => numbers(size.width).map((column) => colour(
                x + column * tokens.cell + inset(tokens.cell), y + row * tokens.cell + inset(tokens.cell)))) })),
    };
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
        self.element.wait_for_element_state("visible")

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

    def drawn(self, report: dict) -> dict[str, Any]:
        """Colours of the canvas: `cells` [evaluations][blocks] and `tiles` with `colours` [rows][columns]."""
        return self.element.evaluate(DRAWN, [self.web_folder, report])

    def press(self, key: str) -> None:
        """Press a key with the focus on the slider."""
        slider = self.element.query_selector("input[type=range]")
        assert slider is not None
        slider.focus()
        self.page.keyboard.press(key)

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
