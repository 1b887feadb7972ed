"""The preview node in the real frontend: what it draws is what the run's report says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page

from fastcache_core.replay import replay
from tests.browser.conftest import READY, ROOT, on_each_frontend
from tests.browser.preview_page import PreviewPage, check_curve, report_of, token_mask
from tests.unit.test_rendering import rendering

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer


@pytest.fixture
def preview(page: Page, server: ComfyServer, web_folder: str) -> PreviewPage:
    """The preview node of the template whose model is at hand, before the first run."""
    opened = PreviewPage(page, server, web_folder)
    opened.load(ROOT / "workflows/fastcache_demo.json")
    return opened


def test_before_the_first_run(preview: PreviewPage, nodes: str, screenshots: Path) -> None:
    assert preview.missing_types() == []
    assert preview.page.get_by_text("Missing Node Types").count() == 0
    assert preview.page.locator(".p-toast-message").all_inner_texts() == []
    assert preview.data["state"] == "empty"
    assert preview.text("message") == "Run the workflow to see what was skipped."
    preview.page.screenshot(path=screenshots / f"empty_{nodes}.png")


def test_map_shows_the_report_of_the_run(preview: PreviewPage, nodes: str, screenshots: Path) -> None:
    report = report_of(preview.queue())
    preview.page.screenshot(path=screenshots / f"preview_{nodes}.png")
    data = preview.data
    assert data["state"] == "report"
    assert int(data["evaluations"]) == len(report["computed"]) > 1
    assert int(data["blocks"]) == len(report["blocks"]) > 1
    assert float(data["computedFraction"]) == report["computed_fraction"]
    assert preview.text("totals") == rendering.totals_text(report)
    assert preview.text("notes") == " ".join(report["notes"])
    assert preview.cells(report) == [
        [[list(rendering.shade(fraction))] for fraction in row] for row in report["computed"]
    ]
    take_pictures_away(preview, report)
    check_tokens(preview, report, int(data["selected"]) - 1)
    check_curve(preview, report, report["held"], report["run"]["block_threshold"])


@on_each_frontend
def test_ten_other_thresholds_are_told_as_the_engine_decides(preview: PreviewPage) -> None:
    """On the report of a real run, by the module that the page has loaded."""
    report = report_of(preview.queue())
    outcomes = []
    for threshold in (0.0, 0.01, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.6, 2.0):
        told, engine = preview.what_if(report, "block", threshold), replay(report, threshold)
        assert told["computed"] == engine.computed, threshold
        assert told["computedFraction"] == pytest.approx(engine.computed_fraction)
        outcomes.append(round(engine.computed_fraction, 9))
    assert outcomes == sorted(outcomes, reverse=True) and len(set(outcomes)) > 5


@on_each_frontend
def test_slider_moves_through_the_evaluations(preview: PreviewPage) -> None:
    report = report_of(preview.queue())
    take_pictures_away(preview, report)
    preview.press("Home")
    for evaluation in range(len(report["computed"])):
        assert preview.data["selected"] == str(evaluation + 1)
        assert preview.text("hover").startswith(f"evaluation {evaluation + 1} of {len(report['computed'])} (sigma ")
        check_tokens(preview, report, evaluation)
        preview.press("ArrowRight")


def test_pointer_tells_and_selects(preview: PreviewPage) -> None:
    report = report_of(preview.queue())
    grid = preview.layout(report)["grid"]
    states = {0.0: "predicted", 1.0: "computed"}
    for evaluation, block in [(0, 0), (len(report["computed"]) // 2, len(report["blocks"]) - 1)]:
        x = grid["x"] + (evaluation + 0.5) * grid["cellWidth"]
        y = grid["rows"][block] + 0.5 * grid["cellHeight"]
        preview.point_at(x, y, click=True)
        told = preview.text("hover")
        state = states.get(report["computed"][evaluation][block], "partial")
        assert told.startswith(
            f"evaluation {evaluation + 1}, {' block '.join(report['blocks'][block].split())}: {state}"
        )
        assert (", expected error 0." in told) == (report["error_expected"][evaluation][block] is not None), told
        assert preview.data["selected"] == str(evaluation + 1)


def test_wheel_over_the_map_zooms_the_graph(preview: PreviewPage) -> None:
    before = preview.page.evaluate("() => app.canvas.ds.scale")
    preview.point_at(50, 50)
    preview.page.mouse.wheel(0, -120)
    preview.page.wait_for_function("(before) => app.canvas.ds.scale > before", arg=before)


@on_each_frontend
def test_history_fills_the_map(preview: PreviewPage) -> None:
    """Opening a job from the history loads its workflow, then hands out its outputs."""
    entry = preview.queue()
    preview.server.post("/history", {"clear": True})  # else the node would ask for it by itself
    preview.page.reload()
    preview.page.wait_for_function(READY)
    preview.page.evaluate("(graph) => app.loadGraphData(graph)", entry["prompt"][3]["extra_pnginfo"]["workflow"])
    assert preview.data["state"] == "empty"
    preview.page.evaluate("(outputs) => { app.nodeOutputs = outputs; }", entry["outputs"])
    assert preview.data["state"] == "report"
    assert float(preview.data["computedFraction"]) == report_of(entry)["computed_fraction"]


def test_map_works_in_a_subgraph(preview: PreviewPage) -> None:
    """Converting the node to a subgraph makes a new node, under another id; the next run must fill its map."""
    report = report_of(preview.queue())
    preview.convert_to_subgraph()
    entry = preview.queue()
    assert report_of(entry)["computed"] == report["computed"]
    assert preview.data["state"] == "report"


@on_each_frontend
def test_report_that_cannot_be_read_is_explained(preview: PreviewPage, complaints: list[str]) -> None:
    """Another version's report gives a sentence and one warning; nothing is thrown."""
    preview.receive({"fastcache_report": [{"schema": "other.report/9"}]})
    sentence = 'The report has the schema "other.report/9"; this preview reads "fastcache.report/1".'
    assert preview.data["state"] == "error"
    assert preview.text("message") == sentence
    assert complaints == [f"FastCache preview: {sentence}"]
    complaints.clear()


def take_pictures_away(preview: PreviewPage, report: dict) -> None:
    """Once the decoded images lie under the token maps: show the report alone, whose colours are exact."""
    samples = report["tokens"]["samples"]
    preview.page.wait_for_function(
        "([element, count]) => element.dataset.pictures === count", arg=[preview.element, str(samples)]
    )
    preview.receive({"fastcache_report": [report]})
    assert preview.data["pictures"] == "0"


def check_tokens(preview: PreviewPage, report: dict, evaluation: int) -> None:
    """The tiles show the masks of this evaluation, bit for bit."""
    mask = token_mask(report, evaluation)
    assert int(preview.data["tokensComputed"]) == mask.sum()
    for tile in preview.tiles(report):
        bits = mask[tile["sample"], tile["frame"]]
        assert tile["colours"] == [[list(rendering.shade(bit)) for bit in row] for row in bits]
