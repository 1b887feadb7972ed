"""A real ComfyUI serves what the unit tests find complete: texts of the schemas, locales, help pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PACK = "custom_nodes.ComfyUI-FastCache"


def locale(language: str) -> dict:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nodes(server) -> dict[str, dict]:
    """What this ComfyUI tells of the pack's nodes."""
    return {name: info for name, info in server.object_info().items() if info["python_module"] == PACK}


def test_english_locale_is_what_comfyui_tells_of_the_nodes(nodes):
    told = {}
    for name, info in nodes.items():
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
        told[name] = {
            "display_name": info["display_name"],
            "description": info["description"],
            "inputs": {key: {"name": key, "tooltip": spec[1]["tooltip"]} for key, spec in inputs.items()},
            "outputs": {str(place): {"name": key, "tooltip": tip} for place, (key, tip) in enumerate(outputs)},
        }
    assert told == locale("en")


def test_locales_are_served(server):
    served = server.get("/i18n")
    for language in ("en", "zh"):
        ours = locale(language)
        assert {name: served[language]["nodeDefs"][name] for name in ours} == ours


def test_help_pages_and_their_pictures_are_served(server, nodes):
    """Where the frontend looks when there is no page for its language."""
    folder = f"/extensions/{PACK.removeprefix('custom_nodes.')}/docs"
    for name, info in nodes.items():
        assert server.process.fetch(f"{folder}/{name}.md").decode().startswith(f"# {info['display_name']}\n")
    for path in (ROOT / "web/docs/images").iterdir():
        assert server.process.fetch(f"{folder}/images/{path.name}") == path.read_bytes()
        Image.open(path).verify()
