"""Live preview in the real frontend: maps grow while it samples, thresholds are written, maps survive a reload."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import READY, ROOT, on_each_frontend
from tests.browser.preview_page import PreviewPage, report_of

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

WORKFLOW = ROOT / "workflows/fastcache_demo.json"
# Every node of the graph and its subgraphs, by what it is.
NODES = "[app.graph, ...app.graph.subgraphs.values()].flatMap((graph) => graph.nodes)"
MAPS = f"""{NODES}.filter((node) => node.comfyClass === "FastCachePreview")
    .map((node) => node.widgets.find((widget) => widget.type === "fastcache_skip_map").element)"""
# Notes what every map shows, in order, and every message of the server.
WATCH = f"""() => {{
    window.seen = {MAPS}.map((element) => {{
        const seen = [];
        const note = () => seen.push([element.dataset.state, Number(element.dataset.evaluations)]);
        new MutationObserver(note).observe(element, {{ attributes: true }});
        return seen;
    }});
    window.steps = [];
    app.api.addEventListener("fastcache.step", (event) => window.steps.push(event.detail));
}}"""
# So many that the page gets to draw while it samples, on a busy machine too.
STEPS = """(steps) => {
    const samplers = app.graph.nodes.filter((node) => node.comfyClass === "KSampler");
    for (const node of samplers) node.widgets.find((widget) => widget.name === "steps").value = steps;
}"""
SEND = "(detail) => { app.api.dispatchEvent(new CustomEvent('fastcache.step', { detail })); }"
FRAME = "() => new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))"


@pytest.fixture
def preview(page: Page, server: ComfyServer, web_folder: str) -> PreviewPage:
    """The demo's preview, before the first run, with live updates on."""
    server.post("/free", {"unload_models": False, "free_memory": True})  # so that it samples again
    server.post("/settings/fastcache.Preview.Live", True)
    page.evaluate("() => app.extensionManager.setting.set('fastcache.Preview.Live', true)")
    opened = PreviewPage(page, server, web_folder)
    opened.load(WORKFLOW)
    return opened


def watched(page: Page) -> list[list[tuple[str, int]]]:
    """For every map, what it has shown since it is watched, without repetitions."""
    seen = page.evaluate("() => window.seen")
    return [list(dict.fromkeys(map(tuple, shown))) for shown in seen]


def test_map_grows_while_it_samples(preview: PreviewPage) -> None:
    preview.page.evaluate(STEPS, 50)
    preview.page.evaluate(WATCH)
    entry = preview.queue()
    report = report_of(entry)
    (shown,) = watched(preview.page)
    live = [evaluations for state, evaluations in shown if state == "live"]
    assert live == sorted(live) and len(live) >= 3, shown
    assert shown[-1] == ("report", len(report["computed"]))
    steps = preview.page.evaluate("() => window.steps")
    assert [step["evaluation"] for step in steps] == list(range(len(report["computed"])))
    assert all(len(json.dumps(step)) < 16 * 1024 for step in steps)


@on_each_frontend
def test_switched_off_nothing_is_sent(preview: PreviewPage) -> None:
    preview.page.evaluate("() => app.extensionManager.setting.set('fastcache.Preview.Live', false)")
    preview.page.evaluate(WATCH)
    entry = preview.queue()
    preview.page.wait_for_function(f"() => {MAPS}[0].dataset.state === 'report'")
    assert preview.page.evaluate("() => window.steps") == []
    assert {state for state, _ in watched(preview.page)[0]} == {"report"}
    prompt = entry["prompt"][2]
    assert [node["inputs"]["skip_map"] for node in prompt.values() if node["class_type"] == "FastCachePreview"] == [
        False
    ]


@on_each_frontend
def test_widget_is_not_in_the_workflow_file(preview: PreviewPage) -> None:
    saved = preview.page.evaluate("() => app.graph.serialize()")
    (node,) = (node for node in saved["nodes"] if node["type"] == "FastCachePreview")
    assert not node.get("widgets_values")


# A second branch from the same latents: FastCache, sampler, preview; then the second preview moves into a subgraph.
BRANCH = """([steps, threshold]) => {
    const find = (kind) => app.graph.nodes.find((node) => node.comfyClass === kind);
    const copies = {};
    for (const kind of ["FastCache", "KSampler", "FastCachePreview"]) {
        const source = find(kind);
        const copy = LiteGraph.createNode(kind);
        app.graph.add(copy);
        copy.pos = [source.pos[0], source.pos[1] + 900];
        const saved = source.widgets.filter((widget) => widget.serialize !== false);
        saved.forEach((widget, i) => { copy.widgets[i].value = widget.value; });
        source.inputs.forEach((input, slot) => {
            const link = source.getInputLink(slot);
            if (!link) return;
            const origin = app.graph.getNodeById(link.origin_id);
            (copies[origin.comfyClass] ?? origin).connect(link.origin_slot, copy, slot);
        });
        copies[kind] = copy;
    }
    // The template's preview waits for the decoder; this one for its own sampler.
    const after = copies.FastCachePreview.inputs.findIndex((input) => input.name === "after_sample");
    copies.KSampler.connect(0, copies.FastCachePreview, after);
    copies.KSampler.widgets.find((widget) => widget.name === "steps").value = steps;
    copies.FastCache.widgets.find((widget) => widget.name === "block_threshold").value = threshold;
    return copies.FastCachePreview.id;
}"""
INTO_SUBGRAPH = "(id) => { app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)])); }"


def test_two_previews_and_one_in_a_subgraph_do_not_mix(preview: PreviewPage) -> None:
    page = preview.page
    page.evaluate(BRANCH, [7, 0.2])
    third = page.evaluate(BRANCH, [11, 0.3])
    page.evaluate(INTO_SUBGRAPH, third)
    page.evaluate(WATCH)
    entry = preview.queue()
    page.wait_for_function(f"() => {MAPS}.every((element) => element.dataset.state === 'report')")
    shown = watched(page)
    final = [seen[-1] for seen in shown]
    assert final == [("report", 20), ("report", 7), ("report", 11)]
    for (_, most), seen in zip(final, shown, strict=True):
        live = [evaluations for state, evaluations in seen if state == "live"]
        assert live and live == sorted(live) and live[-1] <= most, seen
    nodes = {tuple(step["nodes"]) for step in page.evaluate("() => window.steps")}
    assert len(nodes) == 3 and sum(":" in key for (key,) in nodes) == 1
    assert set(entry["outputs"]) >= {key for (key,) in nodes}


def step(preview: PreviewPage, **changes: Any) -> dict[str, Any]:
    """A message about the first evaluation of a run, for the preview."""
    node = preview.page.evaluate(f"() => String({NODES}.find((n) => n.comfyClass === 'FastCachePreview').id)")
    return {
        "v": 1, "nodes": [node], "prompt_id": "prompt", "workflow": None, "run": "run", "evaluation": 0, "steps": 20,
        "rule": "significance", "threshold": {"block": 0.1, "token": 0.0}, "blocks": [["double", 4]], "sigma": 1.0,
        "computed": "//8AgA==", "change": None, "expected": None, "reason": "computed: warm-up", "tokens": None,
        "computed_fraction": 1.0, "seconds": 0.1, "overhead": 0.0, "cache_bytes": 0, **changes,
    }  # fmt: skip


@on_each_frontend
def test_messages_that_are_none_give_one_line_a_kind(preview: PreviewPage, complaints: list[str]) -> None:
    page = preview.page
    page.evaluate(SEND, step(preview))
    page.evaluate(FRAME)
    assert (preview.data["state"], preview.data["evaluations"]) == ("live", "1")
    wrong = [{"computed": "AA=="}, {"v": 2}, {"reason": "x" * 70_000}, {"nodes": ["999"]}, {"nodes": ["7:8:9"]}]
    for changes in wrong:
        page.evaluate(SEND, step(preview, evaluation=5, **changes))
        page.evaluate(SEND, step(preview, evaluation=6, **changes))
    for nothing in (None, "text", []):
        page.evaluate(SEND, nothing)
    page.evaluate(FRAME)
    assert (preview.data["state"], preview.data["evaluations"]) == ("live", "1")
    assert len(complaints) == 4, complaints
    assert all(line.startswith("FastCache preview: an update from the server was ignored: ") for line in complaints)
    complaints.clear()


@on_each_frontend
def test_messages_of_another_workflow_are_not_for_this_graph(preview: PreviewPage) -> None:
    preview.page.evaluate(SEND, step(preview, workflow="another"))
    preview.page.evaluate(FRAME)
    assert preview.data["state"] == "empty"


@on_each_frontend
def test_reports_of_another_workflow_are_not_for_this_graph(preview: PreviewPage) -> None:
    entry = preview.queue()
    report = report_of(entry)
    (workflow,) = next(
        output["fastcache_workflow"] for output in entry["outputs"].values() if "fastcache_report" in output
    )
    assert workflow == preview.page.evaluate("() => app.graph.id")
    other = report | {"computed_fraction": 0.125}
    preview.receive({"fastcache_report": [other], "fastcache_workflow": ["another"]})
    assert float(preview.data["computedFraction"]) == report["computed_fraction"]
    preview.receive({"fastcache_report": [other]})
    assert preview.data["computedFraction"] == "0.125"


# An event of the server that is made here, because its moment in a real run is hard to meet.
TELL = "([name, detail]) => { app.api.dispatchEvent(new CustomEvent(name, { detail })); }"


@on_each_frontend
def test_map_of_a_preview_that_was_not_executed_ends_with_its_prompt(preview: PreviewPage) -> None:
    page = preview.page
    page.evaluate(SEND, step(preview))
    page.evaluate(FRAME)
    assert preview.data["state"] == "live"
    page.evaluate(TELL, ["execution_success", {"prompt_id": "another"}])
    assert preview.data["state"] == "live"
    page.evaluate(TELL, ["execution_success", {"prompt_id": "prompt"}])
    assert (preview.data["state"], preview.data["evaluations"]) == ("report", "1")
    assert preview.text("notes").startswith("The preview was not executed;")


@on_each_frontend
def test_map_that_is_made_anew_while_it_samples_goes_on(preview: PreviewPage) -> None:
    page = preview.page
    workflow = page.evaluate("() => app.graph.id")
    for evaluation in (0, 1):
        page.evaluate(SEND, step(preview, evaluation=evaluation, workflow=workflow))
    page.evaluate("() => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")
    page.wait_for_function(f"() => {MAPS}[0]?.dataset.state === 'live'")
    page.evaluate(SEND, step(preview, evaluation=2, workflow=workflow))
    page.wait_for_function(f"() => {MAPS}[0].dataset.evaluations === '3'")


@on_each_frontend
def test_messages_for_a_removed_node_do_no_harm(preview: PreviewPage, complaints: list[str]) -> None:
    page, message = preview.page, step(preview)
    page.evaluate(SEND, message)
    page.evaluate(f"() => {{ app.graph.remove({NODES}.find((n) => n.comfyClass === 'FastCachePreview')); }}")
    page.evaluate(SEND, message | {"evaluation": 1})
    page.evaluate(FRAME)
    assert complaints == [
        "FastCache preview: an update from the server was ignored: this graph has no preview with the id "
        f"{message['nodes'][0]}."
    ]
    complaints.clear()


APPLY = f"""async ([kind, value, folder]) => {{
    const {{ applyThreshold }} = await import(folder + "/lib/graph.mjs");
    const shown = {NODES}.find((node) => node.comfyClass === "FastCachePreview");
    return applyThreshold(app.rootGraph ?? app.graph, shown, kind, value, app.canvas);
}}"""
THRESHOLD = f"""() => {NODES}.find((node) => node.comfyClass === "FastCache")
    .widgets.find((widget) => widget.name === "block_threshold").value"""


def apply(preview: PreviewPage, value: float, kind: str = "block") -> str:
    return preview.page.evaluate(APPLY, [kind, value, preview.web_folder])


def test_apply_writes_the_widget_and_can_be_undone(preview: PreviewPage, nodes: str) -> None:
    page = preview.page
    node = page.evaluate(f"() => {NODES}.find((n) => n.comfyClass === 'FastCache').id")
    before = page.evaluate(THRESHOLD)
    assert apply(preview, 0.23) == f"block_threshold of FastCache (#{node}) is now 0.23; run again to use it."
    assert page.evaluate(THRESHOLD) == 0.23
    if nodes == "nodes2":
        shown = f'[data-node-id="{node}"] input'
        page.wait_for_function(
            "(selector) => [...document.querySelectorAll(selector)].some((i) => Number(i.value) === 0.23)", arg=shown
        )
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    assert prompt[str(node)]["inputs"]["block_threshold"] == 0.23
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Undo')")
    page.wait_for_function(f"(before) => ({THRESHOLD})() === before", arg=before)


# What is on the screen, and whether it is the node's own.
VISIBLE = f"""() => [...document.querySelectorAll(".fastcache-skip-map")].map((element) =>
    [{MAPS}.includes(element), element.dataset.state, element.querySelector(".totals").textContent])"""


def test_map_that_is_seen_is_the_one_that_is_filled_after_undo(preview: PreviewPage) -> None:
    page = preview.page
    preview.queue()
    before = page.evaluate(THRESHOLD)
    apply(preview, 0.6)
    for command, due in (("Undo", before), ("Redo", 0.6)):
        page.evaluate(f"() => app.extensionManager.command.execute('Comfy.{command}')")
        page.wait_for_function(f"(due) => ({THRESHOLD})() === due", arg=due)
        page.wait_for_function(f"() => ({VISIBLE})().map(([own]) => own).join() === 'true'")
    report = report_of(preview.queue())
    ((own, state, totals),) = page.evaluate(VISIBLE)
    assert (own, state) == (True, "report")
    assert f"{report['seconds']['total']:.2f} s" in totals
    assert preview.element.evaluate("(element) => element.querySelector('canvas').clientWidth") > 100


@pytest.mark.parametrize("inside", ["FastCachePreview", "FastCache"])
def test_apply_finds_its_way_through_subgraphs(preview: PreviewPage, inside: str) -> None:
    page = preview.page
    page.evaluate(INTO_SUBGRAPH, page.evaluate(f"() => {NODES}.find((n) => n.comfyClass === '{inside}').id"))
    sentence = apply(preview, 0.35)
    assert sentence.startswith("block_threshold of FastCache (#") and "is now 0.35" in sentence, sentence
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    (entry,) = (entry for entry in prompt.values() if entry["class_type"] == "FastCache")
    assert entry["inputs"]["block_threshold"] == 0.35


def test_reload_keeps_the_map(preview: PreviewPage) -> None:
    page = preview.page
    report = report_of(preview.queue())
    page.wait_for_timeout(1000)  # the frontend stores the workflow in the browser only now and then
    page.reload()
    page.wait_for_function(READY)
    page.wait_for_function(f"() => {MAPS}[0]?.dataset.state === 'report'")
    assert float(preview.data["computedFraction"]) == report["computed_fraction"]
    page.evaluate("() => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")
    page.wait_for_function(f"() => {MAPS}[0]?.dataset.state === 'report'")


HISTORY = "**/history?max_items=16"
LOAD = "(graph) => app.loadGraphData(graph)"


@on_each_frontend
def test_server_that_did_not_tell_is_asked_again(preview: PreviewPage) -> None:
    page = preview.page
    report = report_of(preview.queue())
    graph = page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    page.route(HISTORY, lambda route: route.fulfill(status=503))
    page.reload()  # the page would still know the report
    page.wait_for_function(READY)
    with page.expect_response(HISTORY):
        page.evaluate(LOAD, graph)
    page.evaluate(FRAME)
    assert preview.data["state"] == "empty"
    page.unroute(HISTORY)
    page.route(HISTORY, lambda route: route.abort())
    with page.expect_event("requestfailed", lambda request: "max_items=16" in request.url):
        page.evaluate(LOAD, graph)
    page.evaluate(FRAME)
    assert preview.data["state"] == "empty"
    page.unroute(HISTORY)
    page.evaluate(LOAD, graph)
    page.wait_for_function(f"() => {MAPS}[0]?.dataset.state === 'report'")
    assert float(preview.data["computedFraction"]) == report["computed_fraction"]


@on_each_frontend
def test_undo_does_not_ask_the_server_for_what_the_page_knows(preview: PreviewPage) -> None:
    page = preview.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/history?max_items=16" in request.url else None)
    report = report_of(preview.queue())
    before = page.evaluate(THRESHOLD)
    apply(preview, 0.6)
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Undo')")
    page.wait_for_function(f"(before) => ({THRESHOLD})() === before", arg=before)
    page.wait_for_function(f"() => {MAPS}[0]?.dataset.state === 'report'")
    assert float(preview.data["computedFraction"]) == report["computed_fraction"]
    assert asked == []


@on_each_frontend
def test_another_workflow_gets_no_map_of_this_one(preview: PreviewPage) -> None:
    page = preview.page
    preview.queue()
    graph = page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    with page.expect_response("**/history?max_items=*"):
        page.evaluate("(graph) => app.loadGraphData(graph)", graph | {"id": "11111111-2222-4333-8444-555555555555"})
    page.evaluate(FRAME)
    assert preview.data["state"] == "empty"


@on_each_frontend
def test_settings_are_two_and_colours_reach_open_maps(preview: PreviewPage) -> None:
    page = preview.page
    names = page.evaluate(
        "() => Object.keys(app.ui.settings.settingsLookup).filter((id) => id.startsWith('fastcache'))"
    )
    assert sorted(names) == ["fastcache.Preview.Colours", "fastcache.Preview.Live"]
    page.evaluate("() => app.extensionManager.setting.set('fastcache.Preview.Colours', 'greyscale')")
    assert preview.data["palette"] == "greyscale"
    page.evaluate("() => app.extensionManager.setting.set('fastcache.Preview.Colours', 'amber and blue')")
    assert preview.data["palette"] == "amber and blue"


@on_each_frontend
def test_pictures_become_addresses(preview: PreviewPage) -> None:
    picture = {"filename": "a b.png", "subfolder": "", "type": "temp"}
    report = report_of(preview.queue())
    preview.receive({"fastcache_report": [report], "fastcache_images": [[picture], [picture | {"filename": "c.png"}]]})
    first, second = preview.data["images"].split(" ")
    assert first.endswith("/view?filename=a+b.png&subfolder=&type=temp") and "c.png" in second
    preview.receive({"fastcache_report": [report]})
    assert preview.data["images"] == ""


VIEW = "() => [app.canvas.ds.scale, ...app.canvas.ds.offset]"


@pytest.mark.parametrize("nodes", ["classic"], indirect=True)
def test_middle_button_moves_the_graph_and_the_wheel_scrolls_where_it_can(preview: PreviewPage) -> None:
    page = preview.page
    report = report_of(preview.queue())
    scale, *offset = page.evaluate(VIEW)
    x, y = preview.centre(".totals")
    page.mouse.move(x, y)
    page.mouse.down(button="middle")
    page.mouse.move(x + 30, y + 20)
    page.mouse.move(x + 60, y + 40)
    page.mouse.up(button="middle")
    page.evaluate(FRAME)
    assert page.evaluate(VIEW) == pytest.approx([scale, offset[0] + 60, offset[1] + 40])
    page.mouse.move(x + 160, y + 90)  # nothing is dragged any more
    page.evaluate(FRAME)
    assert page.evaluate(VIEW) == pytest.approx([scale, offset[0] + 60, offset[1] + 40])
    preview.receive({"fastcache_report": [report | {"notes": ["A long note. "] * 200}]})
    page.evaluate(FRAME)
    page.mouse.move(*preview.centre(".notes"))
    page.mouse.wheel(0, 60)
    page.wait_for_function("(notes) => notes.scrollTop > 0", arg=preview.element.query_selector(".notes"))
    assert page.evaluate(VIEW)[0] == scale
    page.mouse.move(*preview.centre(".stage"))
    page.mouse.wheel(0, -60)
    page.wait_for_function("(scale) => app.canvas.ds.scale > scale", arg=scale)
