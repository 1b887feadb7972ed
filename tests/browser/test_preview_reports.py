"""The preview's map in the real frontend, with recorded reports: what it draws, and what moves it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import ROOT, on_each_frontend
from tests.browser.preview_page import PreviewPage, check_curve, column, height, token_mask
from tests.unit.sample_report import BLOCK_THRESHOLD, TOKEN_THRESHOLD, begun, branched, sample_report
from tests.unit.test_rendering import rendering

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

PREDICTED = list(rendering.shade(0))
# The graph's scale, with the map's top left corner on the screen.
ZOOM = """(scale) => {
    const node = app.graph.nodes[0];
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [100 / scale - node.pos[0], 100 / scale - node.pos[1]];
    app.canvas.setDirty(true, true);
}"""


@pytest.fixture
def preview(page: Page, server: ComfyServer, web_folder: str) -> PreviewPage:
    """A map that the test holds in its hands, on an otherwise empty graph."""
    mounted = PreviewPage(page, server, web_folder)
    mounted.mount()
    return mounted


def shades(rows: Sequence[Sequence[float]]) -> list:
    return [[[list(rendering.shade(fraction))] for fraction in row] for row in rows]


def test_report_is_drawn(preview: PreviewPage, nodes: str, screenshots: Path) -> None:
    report = sample_report()
    preview.call("setReport", report)
    assert preview.cells(report) == shades(report["computed"])
    check_curve(preview, report, report["held"], BLOCK_THRESHOLD)
    preview.page.screenshot(path=screenshots / f"report_{nodes}.png")
    preview.click(".modes button:last-child")
    assert preview.data["mode"] == "tokens"
    saliency = report["tokens"]["saliency"]
    levels = [None if v is None else np.frombuffer(base64.b64decode(v), np.uint8) for v in saliency["values"]]
    ranks = [None if v is None else float(np.sort(v)[math.ceil(0.5 * len(v)) - 1]) for v in levels]
    medians = [None if r is None else TOKEN_THRESHOLD * math.exp((r - 127.5) / saliency["scale"]) for r in ranks]
    check_curve(preview, report, medians, TOKEN_THRESHOLD)
    preview.page.screenshot(path=screenshots / f"tokens_{nodes}.png")


@on_each_frontend
def test_branches_share_a_cell(preview: PreviewPage) -> None:
    report = branched(sample_report())
    preview.call("setReport", report)
    cond, uncond = report["computed_by_branch"].values()
    pairs = [list(zip(*rows, strict=True)) for rows in zip(cond, uncond, strict=True)]
    both = [[[list(rendering.shade(fraction)) for fraction in pair] for pair in row] for row in pairs]
    assert preview.cells(report, parts=2) == both
    grid = preview.layout(report)["grid"]
    preview.point_at(column(grid, 19), grid["rows"][-1] + grid["cellHeight"] / 2)
    assert preview.text("hover").startswith("evaluation 20, single block 11: cond computed, uncond predicted, change ")


def test_threshold_is_tried_by_pointer_and_applied(preview: PreviewPage, nodes: str, screenshots: Path) -> None:
    report = sample_report()
    preview.call("setReport", report)
    preview.call("select", 4)
    curve = preview.layout(report)["curve"]
    x, y = preview.centre(".threshold")
    preview.page.mouse.move(x, y)
    preview.page.mouse.down()
    preview.page.mouse.move(x + 9, y - 4)
    preview.page.mouse.move(x + 9, y + height(curve, 0.15) - height(curve, BLOCK_THRESHOLD), steps=3)
    preview.page.mouse.up()
    tried = float(preview.data["whatIfThreshold"])
    assert tried == pytest.approx(0.15, rel=0.1) and tried == float(f"{tried:.3g}")
    would = preview.what_if(report, "block", tried)
    assert would["computed"] != report["computed"]
    assert preview.cells(report) == shades(would["computed"])
    assert float(preview.data["whatIfFraction"]) == pytest.approx(would["computedFraction"])
    assert int(preview.data["tokensComputed"]) == sum(would["masks"][4])
    assert preview.text("verdict").startswith(f"block_threshold {tried:g}: {would['computedFraction']:.0%}"[:-1])
    assert "estimated error" in preview.text("verdict")
    preview.page.screenshot(path=screenshots / f"what_if_{nodes}.png")
    preview.click(".apply")
    assert preview.page.evaluate("applied") == [["block", tried]]
    assert preview.text("verdict") == f"block: {tried:g}"
    focused = "() => document.activeElement.className"
    assert preview.page.evaluate(focused) == "threshold"
    preview.click(".reset")
    assert preview.data["whatIfThreshold"] == ""
    assert preview.page.evaluate(focused) == "threshold"
    assert preview.cells(report) == shades(report["computed"])


@on_each_frontend
def test_threshold_along_the_schedule(preview: PreviewPage, nodes: str, screenshots: Path) -> None:
    """Whatever evaluation is selected: the handle stands on its line, and what is tried is what the widget holds."""
    report = sample_report()
    factors = [1 - 0.04 * e for e in range(20)]
    report["thresholds"]["block"] = [BLOCK_THRESHOLD * factor for factor in factors]
    preview.call("setReport", report)
    curve = preview.layout(report)["curve"]
    preview.call("select", 15)
    x, y = preview.centre(".threshold")
    top = preview.element.query_selector(".stage").bounding_box()["y"]
    assert y - top == pytest.approx(height(curve, BLOCK_THRESHOLD * factors[15]), abs=1)
    preview.page.mouse.move(x, y + 2)
    preview.page.mouse.down()
    preview.page.mouse.move(x + 5, y + 2)
    preview.page.mouse.up()
    assert float(preview.data["whatIfThreshold"]) == pytest.approx(BLOCK_THRESHOLD, abs=0.001)
    preview.press("PageUp", ".threshold")
    tried = float(preview.data["whatIfThreshold"])
    assert tried == pytest.approx(1.5 * BLOCK_THRESHOLD, rel=0.02)
    assert preview.centre(".threshold")[1] - top == pytest.approx(height(curve, tried * factors[15]), abs=1)
    assert preview.cells(report) == shades(preview.what_if(report, "block", tried)["computed"])
    preview.page.screenshot(path=screenshots / f"schedule_{nodes}.png")


@on_each_frontend
def test_a_graph_that_is_zoomed_in_is_drawn_in_more_detail(preview: PreviewPage) -> None:
    preview.call("setReport", sample_report())
    detail = "() => { const { width, clientWidth } = map.element.querySelector('canvas'); return width / clientWidth; }"
    assert preview.page.evaluate(detail) == 2
    for zoom, due in ((2.6, 3), (9, 4), (0.8, 2)):
        preview.page.evaluate(ZOOM, zoom)
        preview.page.wait_for_timeout(200)
        preview.point_at(10, 10)
        preview.point_at(12, 12)
        assert preview.page.evaluate(detail) == due


@on_each_frontend
def test_fingers_take_the_handle_from_further_away(preview: PreviewPage, nodes: str, screenshots: Path) -> None:
    page, report = preview.page, sample_report()
    preview.call("setReport", report)
    box = preview.element.query_selector(".threshold").bounding_box()
    right, middle = box["x"] + box["width"], box["y"] + box["height"] / 2
    left = box["x"] + 9
    points = {"grip": (right - 40, middle + 18), "line": (left, middle + 10), "beside": (left, middle + 18)}
    on_line = "([x, y]) => document.elementFromPoint(x, y).className === 'threshold'"
    assert not any(page.evaluate(on_line, point) for point in points.values())
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page.wait_for_function("() => matchMedia('(pointer: coarse)').matches")
    assert {name: page.evaluate(on_line, point) for name, point in points.items()} == {
        "grip": True, "line": True, "beside": False,
    }  # fmt: skip
    page.screenshot(path=screenshots / f"coarse_{nodes}.png")
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})


@on_each_frontend
def test_points_beside_the_line_are_in_reach(preview: PreviewPage) -> None:
    report = sample_report()
    preview.call("setReport", report)
    layout = preview.layout(report)
    x, y = column(layout["grid"], 8), height(layout["curve"], BLOCK_THRESHOLD) + 5
    preview.point_at(x, y, click=True)
    assert preview.data["selected"] == "9"
    assert preview.text("hover").startswith("evaluation 9: change ")


@on_each_frontend
def test_threshold_is_tried_by_keyboard(preview: PreviewPage) -> None:
    report = sample_report()
    preview.call("setReport", report)
    preview.press("ArrowUp", ".threshold")
    assert preview.data["whatIfThreshold"] == "0.084"
    preview.press("PageDown", ".threshold")
    assert preview.data["whatIfThreshold"] == "0.056"
    handle = preview.element.query_selector(".threshold")
    assert (handle.get_attribute("role"), handle.get_attribute("aria-valuetext")) == ("slider", "0.056")
    preview.press("Escape", ".threshold")
    assert preview.data["whatIfThreshold"] == ""
    preview.click(".modes button:last-child")
    preview.press("ArrowDown", ".threshold")
    tried = float(preview.data["whatIfThreshold"])
    assert tried == pytest.approx(TOKEN_THRESHOLD / 1.05, rel=0.01)
    preview.press("End")
    masks = preview.what_if(report, "token", tried)["masks"]
    assert int(preview.data["tokensComputed"]) == sum(masks[-1])
    preview.call("setReport", report | {"size": None})
    preview.press("ArrowUp", ".threshold")
    assert preview.text("verdict").startswith("This report lacks what is needed: the run did not end, or ")
    assert preview.element.query_selector(".apply").is_hidden()
    assert preview.data["whatIfThreshold"] == ""


@on_each_frontend
def test_only_what_keys_select_is_read_out(preview: PreviewPage) -> None:
    report = sample_report()
    preview.call("setReport", report)
    line = preview.element.query_selector(".hover")
    assert line.get_attribute("aria-live") == "off"
    preview.press("End")
    assert line.get_attribute("aria-live") == "polite" and line.text_content().startswith("evaluation 20 of 20")
    preview.point_at(column(preview.layout(report)["grid"], 3), 40)
    assert line.get_attribute("aria-live") == "off"
    for follows in ("togglePlay", "setLive"):
        preview.press("Home")
        assert line.get_attribute("aria-live") == "polite"
        preview.call(follows, *([begun(report, 3)] if follows == "setLive" else []))
        assert line.get_attribute("aria-live") == "off"


@on_each_frontend
def test_a_rule_of_which_nothing_else_can_be_told_has_a_curve_without_a_handle(
    preview: PreviewPage, nodes: str, screenshots: Path
) -> None:
    report = sample_report()
    report["run"]["rule"] = "first_block_distance"
    preview.call("setReport", report)
    check_curve(preview, report, report["held"], BLOCK_THRESHOLD)
    assert preview.element.query_selector(".threshold").is_hidden()
    preview.page.screenshot(path=screenshots / f"distance_{nodes}.png")
    preview.click(".modes button:last-child")
    preview.press("ArrowDown", ".threshold")
    assert preview.text("verdict").startswith("What other thresholds would have skipped can be told for the rules ")
    assert preview.element.query_selector(".apply").is_hidden()


@on_each_frontend
def test_play_runs_to_the_end_and_stops_for_the_user(preview: PreviewPage) -> None:
    preview.call("setReport", sample_report(evaluations=6))
    preview.press("Home")
    preview.click(".play")
    assert preview.data["playing"] == "true"
    preview.page.wait_for_function("() => map.element.dataset.playing === 'false'")
    assert preview.data["selected"] == "6"
    preview.press("Enter", ".play")
    assert preview.data["playing"] == "true" and int(preview.data["selected"]) < 6  # it began anew
    preview.press("End")
    assert (preview.data["playing"], preview.data["selected"]) == ("false", "6")


@on_each_frontend
def test_sampling_is_followed(preview: PreviewPage, nodes: str, screenshots: Path) -> None:
    report = sample_report()
    preview.call("setLive", begun(report, 0))
    assert preview.text("message") == "Sampling begins."
    preview.call("setLive", begun(report, 6))
    assert (preview.data["state"], preview.data["selected"]) == ("live", "6")
    preview.call("setLive", begun(report, 7))
    assert preview.data["selected"] == "7"
    assert preview.text("totals").startswith("sampling, evaluation 7 of 20, ")
    assert preview.element.query_selector(".threshold").is_hidden()
    preview.page.screenshot(path=screenshots / f"live_{nodes}.png")
    preview.press("Home")
    preview.call("setLive", begun(report, 8))
    assert preview.data["selected"] == "1"
    preview.call("setReport", report)
    assert (preview.data["state"], preview.data["selected"]) == ("report", "1")
    preview.call("setLive", begun(report, 2))
    assert preview.data["selected"] == "2"


def flat_picture(colour: tuple[int, int, int]) -> str:
    """A picture of one colour, as a URL."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@on_each_frontend
def test_pictures_lie_under_the_tokens(preview: PreviewPage, nodes: str, screenshots: Path) -> None:
    report, colours = sample_report(samples=2), [(200, 60, 40), (60, 160, 90)]
    preview.call("setReport", report)
    preview.call("select", 4)
    preview.call("setImages", [[flat_picture(colour)] for colour in colours])
    preview.page.wait_for_function("() => map.element.dataset.pictures === '2'")
    tokens, mask = preview.layout(report)["tokens"], token_mask(report, 4)
    assert 0 < mask.sum() < mask.size
    for tile in tokens["tiles"]:
        corners = [(tile["x"] + c * tokens["cell"], tile["y"] + r * tokens["cell"]) for r, c in np.ndindex(8, 8)]
        seen = preview.colours([(x + tokens["cell"] / 2, y + tokens["cell"] / 2) for x, y in corners])
        clear = np.array(colours[tile["sample"]])
        veiled = 0.62 * np.array(PREDICTED) + 0.38 * clear
        due = [clear if bit else veiled for bit in mask[tile["sample"], 0].reshape(-1)]
        np.testing.assert_allclose(seen, due, atol=2)
    preview.page.screenshot(path=screenshots / f"pictures_{nodes}.png")
    preview.call("setImages", [])
    assert preview.data["pictures"] == "0"


@on_each_frontend
def test_frames_have_a_slider(page: Page, server: ComfyServer, web_folder: str, nodes: str, screenshots: Path) -> None:
    """A recorded video run, handed out as the frontend does at the end of a run."""
    preview = PreviewPage(page, server, web_folder)
    preview.load(ROOT / "workflows/fastcache_demo.json")
    report = sample_report(0, 6, 8, (5, 12, 20), 1)
    preview.receive({"fastcache_report": [report]})
    assert preview.data["frame"] == "1"
    preview.press("End", ".frame input")
    assert preview.data["frame"] == "5"
    preview.press("ArrowLeft", ".frame input")
    mask = token_mask(report, int(preview.data["selected"]) - 1)
    (tile,) = preview.tiles(report)
    assert tile["frame"] == 3
    assert tile["colours"] == [[list(rendering.shade(bit)) for bit in row] for row in mask[0, 3]]
    page.screenshot(path=screenshots / f"video_{nodes}.png")


def axis_colours(preview: PreviewPage, report: dict) -> tuple[list[int], list[int]]:
    """Of the line beside the grid, and of the theme's borders, which it takes after."""
    grid = preview.layout(report)["grid"]
    (drawn,) = preview.colours([(grid["x"] - 5.5, grid["rows"][0] + 2)])
    border = preview.element.evaluate("(e) => getComputedStyle(e).borderTopColor")
    return drawn, [int(part) for part in border.strip("rgb()").split(",")]


@pytest.mark.parametrize("size", [(330, 450), (1230, 1010)], ids=["small", "large"])
def test_sizes_and_themes(
    page: Page, server: ComfyServer, web_folder: str, nodes: str, size: tuple[int, int], screenshots: Path
) -> None:
    """Nothing lies outside the element, whatever its size; another palette and theme are taken up."""
    preview, report = PreviewPage(page, server, web_folder), sample_report()
    name = "small" if size[0] < 400 else "large"
    preview.mount(*size)
    preview.call("setReport", report)
    preview.call("tryThreshold", 0.12)
    preview.page.wait_for_timeout(100)
    preview.page.screenshot(path=screenshots / f"{name}_{nodes}.png")
    outside = preview.element.evaluate("""(element) => {
        const whole = element.getBoundingClientRect();
        const isOutside = ({ width, left, top, right, bottom }) => width > 0 &&
            (left < whole.left - 1 || top < whole.top - 1 || right > whole.right + 1 || bottom > whole.bottom + 1);
        return [...element.querySelectorAll("*")].filter((part) => isOutside(part.getBoundingClientRect()))
            .map((part) => part.className);
    }""")
    assert outside == []
    assert preview.element.query_selector(".threshold").is_visible() and preview.layout(report)["tokens"]
    preview.call("setPalette", "greyscale")
    preview.call("resetTrial")
    assert preview.cells(report)[0][0] == [[210, 210, 210]]
    preview.call("setPalette", "no such palette")
    assert preview.data["palette"] == "amber and blue"
    dark = axis_colours(preview, report)
    setting = "(name) => app.extensionManager.setting.set('Comfy.ColorPalette', name)"
    preview.page.evaluate(setting, "light")
    preview.page.wait_for_timeout(500)
    drawn, due = axis_colours(preview, report)
    assert drawn == due and [drawn, due] != list(dark)
    preview.page.screenshot(path=screenshots / f"{name}_light_{nodes}.png")
    preview.page.evaluate(setting, "dark")
