"""The node that saves profiles in the real frontend: it says where the profile is, also after the page was reloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Page

from fastcache_core.profile import Profile
from tests.browser.conftest import READY, wait_until_seen

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

NODE = 'app.graph.nodes.find((node) => node.comfyClass === "FastCacheSaveProfile")'
ELEMENT = f"() => {NODE}.widgets.find((widget) => widget.type === 'fastcache_text').element"
GRAPH = """(name) => {
    app.graph.clear();
    app.graph.id = crypto.randomUUID();
    const [load, save] = ["FastCacheLoadProfile", "FastCacheSaveProfile"].map((type, place) => {
        const node = LiteGraph.createNode(type);
        app.graph.add(node);
        node.pos = [50 + 400 * place, 50];
        return node;
    });
    load.widgets[0].value = "shown.safetensors";
    save.widgets.find((widget) => widget.name === "name").value = name;
    load.connect(0, save, 0);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [150, 80];
    app.canvas.setDirty(true, true);
}"""


def test_node_shows_where_the_profile_is(page: Page, server: ComfyServer, nodes: str, screenshots: Path) -> None:
    folder = server.base / "models/fastcache"
    folder.mkdir(parents=True, exist_ok=True)
    Profile("hunyuan_video", 128, ["double 0"]).save(folder / "shown.safetensors")
    page.evaluate(GRAPH, f"browser/{nodes}")
    wait_until_seen(page, ELEMENT)
    text = page.evaluate_handle(ELEMENT).as_element()
    assert text.text_content() == "Run the workflow to save the profile."
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function("(text) => text.dataset.state === 'text'", arg=text)
    told = text.text_content()
    assert told == f"Saved as browser/{nodes}.safetensors in models/fastcache."
    assert (folder / f"browser/{nodes}.safetensors").is_file()
    assert text.evaluate("(element) => element.scrollHeight <= element.clientHeight")
    page.screenshot(path=screenshots / f"save_profile_{nodes}.png")
    graph = page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    page.reload()
    page.wait_for_function(READY)
    page.evaluate("(graph) => app.loadGraphData(graph)", graph)
    page.wait_for_function(f"(told) => ({ELEMENT})().textContent === told", arg=told)
