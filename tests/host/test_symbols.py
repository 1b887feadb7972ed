"""Everything that the pack uses of ComfyUI is there, in the ComfyUI under test."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from demo.graphs import node

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "nodes", "node_helpers", "server")


def sources() -> list[Path]:
    return [
        ROOT / "__init__.py",
        *sorted((ROOT / "nodes").glob("*.py")),
        *sorted((ROOT / "demo/comfy_nodes").glob("*.py")),
    ]


def symbols(source: str) -> set[str]:
    """Dotted names of ComfyUI's that are imported, or reached from what was imported; not those with a fallback."""
    tree = ast.parse(source)
    guarded = {id(found) for block in ast.walk(tree) if isinstance(block, ast.Try) for found in ast.walk(block)}
    known = {name: symbol for found in ast.walk(tree) for name, symbol in imported(found)}
    free = [found for found in ast.walk(tree) if id(found) not in guarded]
    used = {symbol for found in free for _, symbol in imported(found)}
    return used | {symbol for found in free if (symbol := reached(found, known))}


def imported(found: ast.AST) -> Iterator[tuple[str, str]]:
    """(name here, dotted name there) of an import of ComfyUI's."""
    if isinstance(found, ast.Import):
        for alias in found.names:
            if alias.name.partition(".")[0] in PACKAGES:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
    elif isinstance(found, ast.ImportFrom) and not found.level and found.module.partition(".")[0] in PACKAGES:
        for alias in found.names:
            yield alias.asname or alias.name, f"{found.module}.{alias.name}"


def reached(found: ast.AST, known: dict[str, str]) -> str | None:
    """The dotted name that an attribute of something imported stands for."""
    names: list[str] = []
    while isinstance(found, ast.Attribute):
        names.insert(0, found.attr)
        found = found.value
    return ".".join([known[found.id], *names]) if names and isinstance(found, ast.Name) and found.id in known else None


def test_symbols_are_found_in_all_their_forms():
    source = """
import comfy.model_management
import comfy.utils as utils
from comfy.patcher_extension import WrappersMP
from .elsewhere import comfy_like
try:
    from comfy.model_prefetch import pause_malloc_graph
except ImportError:
    pass
comfy.model_management.get_free_memory(utils.load_torch_file, WrappersMP.OUTER_SAMPLE, comfy_like.x)
"""
    assert symbols(source) == {
        "comfy",
        "comfy.utils",
        "comfy.patcher_extension.WrappersMP",
        "comfy.model_management",
        "comfy.model_management.get_free_memory",
        "comfy.utils.load_torch_file",
        "comfy.patcher_extension.WrappersMP.OUTER_SAMPLE",
    }


def test_every_symbol_of_comfyui_that_the_pack_uses_is_there(server):
    wanted = sorted(set().union(*(symbols(path.read_text(encoding="utf-8")) for path in sources())))
    assert "comfy.patcher_extension.WrappersMP.PREDICT_NOISE" in wanted
    outputs = server.run({"symbols": node("FastCacheToySymbols", names=json.dumps([*wanted, "comfy.utils.no_such"]))})
    assert json.loads(outputs["outputs"]["symbols"]["text"][0]) == ["comfy.utils.no_such"]


def test_adapters_and_the_engine_never_import_comfyui():
    for path in (ROOT / "fastcache_core").rglob("*.py"):
        assert not symbols(path.read_text(encoding="utf-8")), path
