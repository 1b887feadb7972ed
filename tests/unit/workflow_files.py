"""The shipped workflows: their files, and what of them several suites look for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.json"))
DEMO = FOLDER / "fastcache_demo.json"
NOTES = {"MarkdownNote", "Note"}
COMPARISON = "Compare with the same seed, without FastCache"


def read(path: Path) -> dict[str, Any]:
    """A workflow as the frontend saved it."""
    return json.loads(path.read_text(encoding="utf-8"))


def nodes_in(graph: dict[str, Any], *types: str) -> list[dict[str, Any]]:
    """The nodes of these types."""
    return [node for node in graph["nodes"] if node["type"] in types]


def comparison(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes in the group that samples once more without FastCache."""
    (group,) = (group for group in graph["groups"] if group["title"].startswith(COMPARISON))
    left, top, width, height = group["bounding"]
    return [
        node
        for node in graph["nodes"]
        if left <= node["pos"][0] <= left + width and top <= node["pos"][1] <= top + height
    ]
