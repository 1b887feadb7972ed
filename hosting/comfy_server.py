"""A running ComfyUI, used as a client would: queue a graph, wait for it, look at the pictures.

with ComfyServer.from_environment() as server:
    entry = server.run(graph)                               # graph in ComfyUI's API format
    picture = server.image(entry["outputs"]["9"]["images"][0])
"""

from __future__ import annotations

import io
import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from hosting.events import Event, EventListener
from hosting.process import CPU_ARGUMENTS, ComfyError, ComfyProcess

Graph = Mapping[str, Mapping[str, Any]]


class ComfyServer:
    """Starts ComfyUI on entering, stops it on leaving. `base` must hold what hosting.layout.prepare_base() creates."""

    def __init__(self, tree: Path, base: Path, *, port: int | None = None, arguments: Sequence[str] = CPU_ARGUMENTS):
        self.base = Path(base)
        self.client_id = uuid.uuid4().hex
        log_file = self.base / "comfyui.log"
        self.process = ComfyProcess(tree, self.base, port=port, arguments=arguments, log_file=log_file)
        self.events: EventListener | None = None

    @classmethod
    def from_environment(cls, base: Path | None = None, **options: Any) -> ComfyServer:
        """The ComfyUI that dev.py has set up, FASTCACHE_COMFYUI, on `base` or the demo's directory, FASTCACHE_BASE."""
        try:
            return cls(Path(os.environ["FASTCACHE_COMFYUI"]), base or Path(os.environ["FASTCACHE_BASE"]), **options)
        except KeyError as missing:
            raise ComfyError(
                f"The environment variable {missing.args[0]} is not set, so there is no ComfyUI to start. "
                "Start host tests with 'python3 dev.py test host' and the demo with 'python3 dev.py demo'."
            ) from None

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return self.process.url

    def start(self) -> None:
        """Start ComfyUI, wait until it answers, and listen to its events."""
        self.process.start()
        self.events = EventListener(f"{self.url}/ws?clientId={self.client_id}")
        if not self.events.wait_for(lambda event: event["type"] == "status", timeout=30):
            self.stop()
            raise ComfyError(f"ComfyUI on {self.url} did not accept a websocket.{self.process.tail()}")

    def stop(self) -> None:
        """Stop listening and end ComfyUI."""
        if self.events:
            self.events.close()
        self.process.stop()

    def queue(self, graph: Graph, workflow: Mapping[str, Any] | None = None) -> str:
        """Queue a graph in API format, with the UI-format workflow to store in pictures, and return its prompt id."""
        request: dict[str, Any] = {"prompt": graph, "client_id": self.client_id}
        if workflow is not None:
            request["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        return self.post("/prompt", request)["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 600) -> dict[str, Any]:
        """Wait until a queued graph has run and return its history entry; a failed node raises a `ComfyError`."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._await_end(prompt_id, 1)
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                raise_failure(entry)
                return entry
            self.process.check_alive()
        raise ComfyError(f"Prompt {prompt_id} has not ended after {timeout:.0f} s.{self.process.tail()}")

    def _await_end(self, prompt_id: str, timeout: float) -> None:
        def ended(event: Event) -> bool:
            data = event["data"]
            return event["type"] == "executing" and data["node"] is None and data.get("prompt_id") == prompt_id

        if self.events is None:
            raise ComfyError("The server is not running; call start() or use it in a with statement.")
        self.events.wait_for(ended, timeout)

    def run(self, graph: Graph, timeout: float = 600) -> dict[str, Any]:
        """Queue a graph and wait for it. Outputs are in entry["outputs"][node id]."""
        return self.wait(self.queue(graph), timeout)

    def node_seconds(self, prompt_id: str, node: str) -> float:
        """How long a node of a graph that has run took; 0 when ComfyUI had its outputs cached."""
        events = self.events.all("executing") if self.events else []
        mine = [event for event in events if event["data"].get("prompt_id") == prompt_id]
        spans = zip(mine, mine[1:], strict=False)
        return sum(after["at"] - event["at"] for event, after in spans if event["data"]["node"] == node)

    def image(self, reference: Mapping[str, str]) -> Image.Image:
        """The picture behind a reference {"filename", "subfolder", "type"} from a node's output."""
        picture = Image.open(io.BytesIO(self.process.fetch(f"/view?{urlencode(reference)}")))
        picture.load()
        return picture

    def object_info(self) -> dict[str, Any]:
        """Every registered node: its inputs, outputs, category, by node id."""
        return self.get("/object_info")

    def get(self, path: str) -> Any:
        """GET any path of ComfyUI's API and parse the JSON that comes back."""
        return self.process.get(path)

    def post(self, path: str, data: Mapping[str, Any] | None = None) -> Any:
        """POST JSON to any path of ComfyUI's API, such as /interrupt; None when nothing comes back."""
        answer = self.process.fetch(path, data or {})
        return json.loads(answer) if answer else None

    def log(self) -> str:
        """Everything ComfyUI has printed since it started."""
        return self.process.log()


def raise_failure(entry: Mapping[str, Any]) -> None:
    """Raise a `ComfyError` with ComfyUI's message and traceback when a history entry tells of a failure."""
    status = entry["status"]
    if status["status_str"] == "success":
        return
    failures = {kind: data for kind, data in status["messages"] if kind in ("execution_error", "execution_interrupted")}
    if "execution_error" not in failures:
        raise ComfyError("The run was interrupted." if failures else f"The run failed: {status}")
    error = failures["execution_error"]
    raise ComfyError(
        f"Node {error['node_id']} ({error['node_type']}) failed with {error['exception_type']}: "
        f"{error['exception_message']}\n{''.join(error['traceback'])}"
    )
