"""Which workflow an output belongs to: another tab of the page may have a node with the same id."""

from __future__ import annotations

from typing import Any


def of_workflow(extra: Any) -> dict[str, list[str]]:
    """For a node's ui output; nothing where what came with the prompt, which may be anything, has no id.

    extra: the hidden extra_pnginfo, which ComfyUI gives to every output node.
    """
    workflow = extra.get("workflow") if isinstance(extra, dict) else None
    found = workflow.get("id") if isinstance(workflow, dict) else None
    return {"fastcache_workflow": [found]} if isinstance(found, str) else {}
