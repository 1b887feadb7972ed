"""The table of docs/families.md: `python3 dev.py conformance [EARLIER.json ...]`.

Examines every family in a real ComfyUI, writes out/conformance.json and out/conformance.md, and ends with 1 if a row is
not what it should be. Results of earlier runs, with other versions of ComfyUI, are put into the same table.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hosting.comfy_server import ComfyServer
from hosting.layout import prepare_base
from hosting.process import ComfyError

from .conformance import EXACT, TOYS, examine, missing_in

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out"
HEAD = (
    "model",
    "of",
    "adapter, route",
    "blocks",
    "unchanged when nothing is skipped",
    "predicted = computed",
    "partial = computed",
    "tokens (frames × rows × columns)",
    "block cache",
    "token selector",
    "defaults",
    "ComfyUI",
)
Result = dict[str, Any]


def version_of(server: ComfyServer) -> str:
    return server.get("/system_stats")["system"]["comfyui_version"]


def examine_all(server: ComfyServer) -> Result:
    missing, rows = missing_in(server), []
    for name, toy in TOYS.items():
        for references in (False, True) if toy.references else (False,):
            if toy.family:
                row = examine(server, name, missing, references)
                rows.append(dataclasses.asdict(row))
                print(f"{name}{' with ' + toy.references if references else ''}: {told(rows[-1])}", flush=True)
    return {"schema": "fastcache.conformance/1", "comfyui": version_of(server), "rows": rows}


def told(row: Result) -> str:
    """A row's outcome in a few words."""
    if row["problems"]:
        return "NOT AS IT SHOULD BE: " + "; ".join(row["problems"])
    if row["identical"] is None:
        return f"skipped, {row['reason']}"
    return "exact" + (f" ({row['reason']})" if row["reason"] else "")


def markdown(results: Sequence[Result]) -> str:
    """One table of all results; a row per model, and one more where versions do not agree."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    known: dict[tuple[str, ...], list[str]] = {}
    for result in results:
        for row in result["rows"]:
            if row["identical"] is not None:
                known.setdefault(cells(row), []).append(result["comfyui"])
    order = sorted(known, key=lambda cell: (cell[2], cell[0]))
    return "\n".join([*lines, *("| " + " | ".join((*cell, ", ".join(known[cell]))) + " |" for cell in order)]) + "\n"


def cells(row: Result) -> tuple[str, ...]:
    name = row["name"] + (f" + {row['references']}" if row["references"] else "")
    if row["block_cache"] is None:
        blocks = ("-", "-", "-", f"no: {row['reason']}", "-")
    else:
        tokens = row["reason"].removeprefix("Tokens are not selected: ") if row["reason"] else None
        blocks = (
            within(row["prediction_error"]),
            within(row["partial_error"]),
            " × ".join(map(str, row["grid"])),
            "yes",
            f"no: {tokens}" if tokens else "yes",
        )
    unchanged, defaults = "yes" if row["identical"] else "NO", row["measured"] or "by rule"
    return (name, row["medium"], f"{row['family']}, {row['route']}", str(row["blocks"]), unchanged, *blocks, defaults)


def within(error: float | None) -> str:
    """An error as the power of ten that it stays below, which is alike on all machines."""
    if error is None:
        return "-"
    return "exact" if error == 0 else "yes, within 1e-4" if error <= EXACT else f"NO, off by {error:.1g}"


def main(earlier: Sequence[str]) -> int:
    before = [json.loads(Path(path).read_text(encoding="utf-8")) for path in earlier]
    with tempfile.TemporaryDirectory() as folder:
        base = prepare_base(Path(folder), ROOT, tests=True)
        with ComfyServer.from_environment(base) as server:
            result = examine_all(server)
    OUT.mkdir(exist_ok=True)
    (OUT / "conformance.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (OUT / "conformance.md").write_text(markdown([*before, result]), encoding="utf-8")
    rows = [row for row in result["rows"] if row["identical"] is not None]
    wrong = [row["name"] for row in rows if row["problems"]]
    models = [row for row in rows if not row["references"]]
    cached, selecting = (sum(row[part] is not None for row in models) for part in ("block_cache", "token_selector"))
    version = result["comfyui"]
    print(
        f"ComfyUI {version}: {len(models)} models, {cached} with block cache, {selecting} with token selector, "
        f"{len(result['rows']) - len(rows)} rows skipped, {len(wrong)} not as they should be: see out/conformance.md"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ComfyError as error:
        sys.exit(str(error))
