"""Who looks at a run while it samples: previews of the prompt that is being executed, in the page that queued it.

Beside host.py the one file that touches ComfyUI's internals: the queue, the node that is being executed, and the
websockets. Where anything there is not as expected, nobody looks.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EVENT = "fastcache.step"
# What the preview's widget adds to the prompt while live updates are on (web/fastcache.js). The node has no such input.
ASKS = "skip_map"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audience:
    """The previews that look at one run.

    nodes: their execution ids. prompt_id, workflow: what they belong to; workflow is None for prompts without one.
    client: id of the page's websocket. server: ComfyUI's PromptServer.
    """

    nodes: list[str]
    prompt_id: str
    workflow: str | None
    client: str
    server: Any

    def present(self) -> bool:
        """Whether the page is still connected."""
        return self.client in self.server.sockets

    def send(self, message: Mapping[str, Any]) -> None:
        """Send to that page only. May be called from any thread; does not wait."""
        self.server.send_sync(EVENT, message, self.client)


def audience_of(fastcache: str | None) -> Audience | None:
    """Who looks at the run that is about to start, or None. fastcache: id of the node whose settings it has."""
    try:
        return find_audience(fastcache) if fastcache else None
    except Exception:  # ComfyUI's internals may change at any time; an image must not fail with them
        warn_once("FastCache: the preview is not updated while sampling; this ComfyUI's queue is not as expected.")
        return None


def find_audience(fastcache: str) -> Audience | None:
    """The same, by what this ComfyUI says of its queue."""
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    server, context = PromptServer.instance, get_executing_context()
    if server is None or context is None or server.client_id is None:
        return None
    running, _ = server.prompt_queue.get_current_queue_volatile()
    item = next((item for item in running if item[1] == context.prompt_id), None)
    if item is None:
        return None
    _, prompt_id, prompt, extra, *_ = item
    nodes = previews(prompt, context.node_id, fastcache)
    workflow = ((extra.get("extra_pnginfo") or {}).get("workflow") or {}).get("id")
    return Audience(nodes, prompt_id, workflow, server.client_id, server) if nodes else None


def previews(prompt: Mapping[str, Any], sampler: str, fastcache: str) -> list[str]:
    """Ids of the preview nodes of a prompt that ask to be updated and show what `sampler` does with `fastcache`."""
    return [
        key
        for key, entry in prompt.items()
        if entry["class_type"] == "FastCachePreview"
        and entry["inputs"].get(ASKS) is True
        and from_prompt(sampler, prompt) in sources(prompt, entry["inputs"].get("after_sample"))
        and from_prompt(fastcache, prompt) in sources(prompt, entry["inputs"].get("model"), "FastCache")
    ]


def executing() -> tuple[str, str] | None:
    """The prompt and the node that are being executed, or None where ComfyUI does not tell."""
    try:
        from comfy_execution.utils import get_executing_context

        context = get_executing_context()
        return None if context is None else (context.prompt_id, context.node_id)
    except Exception:
        return None


def comes_from(sampler: str, prompt: Any, preview: str, link: str = "after_sample") -> bool:
    """Whether what a node of a prompt waits for comes from this sampler; True where that cannot be told."""
    try:
        return from_prompt(sampler, prompt) in sources(prompt, prompt[from_prompt(preview, prompt)]["inputs"].get(link))
    except Exception:
        return True


def sources(prompt: Mapping[str, Any], link: Any, last: str | None = None) -> set[str]:
    """Ids of every node that what comes through a link depends on; of class `last`, only the nearest ones."""
    found, ahead = set(), [link]
    while ahead:
        link = ahead.pop()
        if not is_link(link) or link[0] in found or link[0] not in prompt:
            continue
        found.add(link[0])
        if prompt[link[0]]["class_type"] != last:
            ahead += prompt[link[0]]["inputs"].values()
    return found


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def from_prompt(node: str, prompt: Mapping[str, Any]) -> str:
    """The node itself, or the one that it was expanded from, as loops are: its id is what comes before a point."""
    return node if node in prompt else node.partition(".")[0]


@functools.cache
def warn_once(sentence: str) -> None:
    """Log what is being handled, the first time only."""
    log.warning(sentence, exc_info=True)
