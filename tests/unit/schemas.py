"""The schemas of the pack's nodes without ComfyUI, and their texts as ComfyUI's locales/<language>/nodeDefs.json.

    python3 -m tests.unit.schemas     write locales/en/nodeDefs.json again, after a schema has changed

Other languages are written by hand; tests tell which texts they lack.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
PACK = "fastcache_pack"
COMFYUI = (
    "comfy",
    "comfy.sample",
    "comfy.samplers",
    "comfy.utils",
    "comfy_api",
    "folder_paths",
    "latent_preview",
    f"{PACK}.nodes.host",
)
ENGLISH = ROOT / "locales/en/nodeDefs.json"


class Socket:
    """A type of comfy_api's io, such as Float: what makes its inputs and outputs keeps what it is given."""

    def __init__(self, name: str):
        self.name = name

    def Input(self, id: str, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(id=id, type=self.name, **{"optional": False, "tooltip": None, **options})

    def Output(self, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(type=self.name, **{"display_name": None, "tooltip": None, **options})


class Io(ModuleType):
    """Stands in for comfy_api.latest.io."""

    ComfyNode = object
    Schema = staticmethod(lambda **options: SimpleNamespace(**options))
    Custom = Socket
    Hidden = SimpleNamespace(unique_id="UNIQUE_ID", prompt="PROMPT")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Socket,), {"__init__": lambda self: Socket.__init__(self, name.upper())})()


def pack() -> ModuleType:
    """The pack, imported as ComfyUI does, with stand-ins for what ComfyUI brings and for nodes/host.py."""
    latest = ModuleType("comfy_api.latest")
    latest.ComfyExtension, latest.io, latest.ui = object, Io("comfy_api.latest.io"), ModuleType("comfy_api.latest.ui")
    stand_ins = {name: mock.MagicMock() for name in COMFYUI}
    stand_ins["comfy_api.latest"] = latest
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules.update(stand_ins | {PACK: module})
    try:
        spec.loader.exec_module(module)
    finally:
        # Not mock.patch.dict: it would also take out what was imported meanwhile, and nobody imports torch twice.
        for name in stand_ins:
            del sys.modules[name]
    return module


def schemas() -> list[SimpleNamespace]:
    extension = finished(pack().comfy_entrypoint())
    return [node.define_schema() for node in finished(extension.get_node_list())]


def finished(coroutine: Coroutine) -> Any:
    """What it returns. In a thread of its own, because browser tests leave an event loop running in this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, coroutine).result()


def texts(schema: SimpleNamespace) -> dict[str, Any]:
    """The texts of one node, by the keys under which the frontend looks for them."""
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {entry.id: {"name": entry.id, "tooltip": entry.tooltip} for entry in schema.inputs},
        "outputs": {
            str(place): {"name": entry.display_name or entry.type, "tooltip": entry.tooltip}
            for place, entry in enumerate(schema.outputs)
        },
    }


def english() -> str:
    """What locales/en/nodeDefs.json holds."""
    return json.dumps({schema.node_id: texts(schema) for schema in schemas()}, indent=2) + "\n"


if __name__ == "__main__":
    ENGLISH.write_text(english(), encoding="utf-8")
