"""Fixtures of the browser tests: Chromium on two frontends of the real ComfyUI, each drawing nodes in both ways."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.conftest import running_server
from tests.unit.workflow_files import WORKFLOWS, nodes_in, read

if TYPE_CHECKING:
    from hosting.comfy_server import ComfyServer

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# Settings are the server's: each page sets those that another one may have changed.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingNodesWarning": True,
    "Comfy.RightSidePanel.IsOpen": False,
}
# For tests that do not need all four: each frontend once, and each way to draw nodes.
on_each_frontend = pytest.mark.parametrize(
    ("frontend", "nodes"), [("pinned", "classic"), ("recent", "nodes2")], indirect=True
)
# Also its first workflow is open, which would take the place of a graph that is loaded before.
READY = "() => window.app?.vueAppReady && window.app.extensionManager?.workflow?.activeWorkflow"
SEEN = """(element) => {
    const box = element?.getBoundingClientRect();
    return box?.width > 0 && box.height > 0;
}"""


def wait_until_seen(page: Page, element: str) -> None:
    """Until the element that this function of the page returns is shown; the frontend may move it about before."""
    page.wait_for_function(f"() => ({SEEN})(({element})())")


def named_by(variable: str, what: str) -> str:
    """The value of an environment variable, which dev.py sets; without it no browser test can run."""
    value = os.environ.get(variable)
    if not value:
        pytest.fail(
            f"The environment variable {variable} does not name {what}. "
            "Start browser tests with 'python3 dev.py test browser'.",
            pytrace=False,
        )
    return value


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium from FASTCACHE_CHROMIUM."""
    executable = named_by("FASTCACHE_CHROMIUM", "a Chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session", params=["pinned", "recent"])
def frontend(request: pytest.FixtureRequest) -> str:
    """The frontend that belongs to the ComfyUI under test, or the one in FASTCACHE_FRONTEND."""
    return request.param


@pytest.fixture(scope="session")
def server(
    frontend: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    """A running ComfyUI that serves this frontend: the one of all tests, or one more process."""
    if frontend == "pinned":
        yield request.getfixturevalue("server")
        return
    folder = named_by("FASTCACHE_FRONTEND", "the folder of a second ComfyUI frontend")
    yield from running_server(tmp_path_factory.mktemp("recent"), "--front-end-root", folder)


@pytest.fixture(params=["classic", "nodes2"])
def nodes(request: pytest.FixtureRequest) -> str:
    """How the frontend draws nodes: on its canvas, or as elements (Nodes 2.0)."""
    return request.param


@pytest.fixture(scope="session")
def web_folder(server: ComfyServer) -> str:
    """The URL path under which ComfyUI serves the pack's web folder."""
    return next(path for path in server.get("/extensions") if path.endswith("/fastcache.js")).rsplit("/", 1)[0]


@pytest.fixture
def complaints() -> list[str]:
    """Errors and warnings from the pack's scripts; those that a test leaves here make it fail."""
    return []


@pytest.fixture(scope="session")
def visitor(server: ComfyServer, browser: Browser) -> Iterator[BrowserContext]:
    """Somebody whose browser has the frontend in its cache, which is most of what a page costs."""
    context = browser.new_context(viewport={"width": 1600, "height": 1200})
    yield context
    context.close()


@pytest.fixture
def page(
    server: ComfyServer, visitor: BrowserContext, nodes: str, web_folder: str, complaints: list[str]
) -> Iterator[Page]:
    """ComfyUI's page, ready for use, and nothing remembered from pages before."""
    server.post("/settings", SETTINGS | {"Comfy.VueNodes.Enabled": nodes == "nodes2"})

    def hear(text: str, source: str) -> None:
        if web_folder in source:
            complaints.append(text)

    opened = visitor.new_page()
    opened.goto(f"{server.url}/system_stats")
    opened.evaluate("() => localStorage.clear()")
    opened.on("pageerror", lambda error: hear(str(error), error.stack or ""))
    opened.on("console", lambda said: said.type in ("warning", "error") and hear(said.text, said.location["url"]))
    opened.goto(server.url)
    opened.wait_for_function(READY)
    yield opened
    opened.close()
    assert not complaints, complaints


@pytest.fixture
def screenshots(frontend: str) -> Path:
    """Where the tests leave pictures of what they saw on this frontend."""
    folder = ROOT / "out/browser" / frontend
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def preview_workflows() -> list[Path]:
    """The pack's templates with a FastCache Preview that run here: the others name models that are not there."""
    graphs = {path: read(path) for path in WORKFLOWS}
    return [
        path
        for path, graph in graphs.items()
        if nodes_in(graph, "FastCachePreview") and not any("models" in node["properties"] for node in graph["nodes"])
    ]
