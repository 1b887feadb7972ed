"""What FastCache does with every family, tried on toy models in a real ComfyUI: `python3 dev.py conformance`.

Each family is sampled with nothing to skip, on input that comes to rest, where predicting and computing must agree, and
with thresholds that skip a lot. What comes out is one row of the table in docs/families.md.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from demo.graphs import Graph, node
from hosting.comfy_server import ComfyServer

from .graphs import ALL_BLOCKS, Report, refined, sample, toy_graph

EXACT = 1e-4  # of the largest value: what rounding may make of the same sum in another order
HALF = {"threshold": 0.01, "min_active": 0.5}
DUE = HALF | {"max_active": 0.5, "refresh_interval": 2}  # references rest for two evaluations, and not in the third
ALL_BUT_ONE = {"threshold": 0.01, "min_active": 0.99}
COMPUTED, AT_REST = 3, 6  # evaluations of the sampler that stands still from the third on


@dataclass
class Row:
    """What was found for one family, with or without its reference or control tokens.

    identical: whether nothing at all changes while thresholds are 0, and while they are on but nothing is skipped.
    prediction_error, partial_error: largest difference to computing on identical input, relative to the largest value.
    block_cache, token_selector: the part of the work that is computed when much may be skipped. None, where one of
    these could not be tried; `reason` then says why. measured: on which real weights the defaults were, None: by rule.
    """

    name: str
    family: str | None
    medium: str
    references: str | None
    route: str | None = None
    blocks: int = 0
    identical: bool | None = None
    prediction_error: float | None = None
    partial_error: float | None = None
    grid: list[int] | None = None
    block_cache: float | None = None
    token_selector: float | None = None
    measured: str | None = None
    reason: str | None = None
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def exact(self) -> bool:
        return not self.problems


def repeat_graph(family: str, evaluations: int, fastcache: dict[str, Any] | None = None, **options: Any) -> Graph:
    """The toy graph with a sampler that evaluates the same input again and again from the third time on."""
    graph = toy_graph(family, fastcache, **options)
    inputs = graph["sample"]["inputs"]
    kept = {name: inputs[name] for name in ("model", "positive", "negative", "latent_image", "cfg")}
    graph["again"] = node("FastCacheToyRepeatSampler", evaluations=evaluations)
    graph["sigmas"] = node("BasicScheduler", model=inputs["model"], scheduler="simple", steps=12, denoise=1.0)
    graph["sample"] = node(
        "SamplerCustom", **kept, add_noise=True, noise_seed=5, sampler=["again", 0], sigmas=["sigmas", 0]
    )
    return graph


def off_by(latents: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(latents - reference).max() / np.abs(reference).max())


def examine(server: ComfyServer, name: str, missing: dict[str, str], references: bool = False) -> Row:
    """The row of one toy."""
    toy = TOYS[name]
    row = Row(name, toy.family, toy.medium, toy.references if references else None)
    if name in missing:
        row.reason = missing[name]
        return row
    alone = toy.alone == "always" or (references and toy.alone == "references")
    options = {"references": references} | ({"batch": 1, "cfg": 1.0} if alone else {})
    plain, _ = sample(server, toy_graph(name, **options))
    if not np.isfinite(plain).all() or plain.std() == 0:
        row.problems.append("the toy itself gives nothing to compare")
    _identical(server, row, plain, options)
    _blocks(server, row, options)
    _tokens(server, row, options)
    return row


def _identical(server: ComfyServer, row: Row, plain: np.ndarray, options: dict[str, Any]) -> None:
    zero, _ = sample(server, toy_graph(row.name, {"block_threshold": 0.0}, **options))
    idle, report = sample(server, toy_graph(row.name, {"block_threshold": 1e-6}, **options))
    row.identical = np.array_equal(zero, plain) and np.array_equal(idle, plain)
    if not row.identical:
        row.problems.append("not identical when nothing is skipped")
    if report["computed"] and report["computed_fraction"] != 1:
        row.problems.append("skips something at a threshold of 1e-6")
    row.route, row.blocks = report["run"].get("route"), len(report["blocks"])
    row.measured = report["run"].get("defaults", {}).get("measured")


def _blocks(server: ComfyServer, row: Row, options: dict[str, Any]) -> None:
    _, report = sample(server, refined(toy_graph(row.name, {}, **options), ALL_BLOCKS))
    row.grid = (report["tokens"] or {}).get("grid")
    if not report["computed"]:
        row.reason = report["notes"][0]
        return
    row.block_cache = round(report["computed_fraction"], 3)
    toy = TOYS[row.name]
    grid = (toy.reference_grid if row.references else None) or toy.grid
    expectations = {
        "family": (report["run"]["family"], toy.family),
        "blocks": (report["blocks"], list(toy.blocks)),
        "grid": (row.grid, list(grid)),
    }
    row.problems += [f"{key} is {got}, not {want}" for key, (got, want) in expectations.items() if got != want]
    if row.block_cache > 0.7:
        row.problems.append(f"block cache computes {row.block_cache:.0%}: {report['notes']}")
    late = f"{row.blocks // 2}-{row.blocks - 1}: 0"  # what was predicted has to do for blocks that are computed
    mixed = {"level": "span", "threshold": 10.0, "block_thresholds": late}
    errors = [
        _at_rest(server, row, {"block_threshold": 10.0}, options, ("predicted:",)),  # the whole model
        _at_rest(server, row, {}, options, ("predicted:",), block_cache=ALL_BLOCKS),
        _at_rest(server, row, {}, options, ("predicted:", "computed:"), block_cache=mixed),
    ]
    row.prediction_error = max(errors)


def _tokens(server: ComfyServer, row: Row, options: dict[str, Any]) -> None:
    if row.block_cache is None:
        return
    off = {"block_threshold": 0.0}
    some = {"threshold": TOYS[row.name].token_threshold}
    _, report = sample(server, refined(toy_graph(row.name, off, **options), None, some))
    refusals = [note for note in report["notes"] if note.startswith("Tokens are not selected: ")]
    if refusals:
        row.reason = refusals[0]
        return
    row.token_selector = round(report["computed_fraction"], 3)
    if not 0.05 < row.token_selector < 1:
        row.problems.append(f"token selector computes {row.token_selector:.0%}: {report['notes']}")
    choices = (HALF, ALL_BUT_ONE, DUE) if row.references else (HALF, ALL_BUT_ONE)
    errors = [_at_rest(server, row, off, options, ("partial:",), token_selector=active) for active in choices]
    row.partial_error = max(errors)


def _at_rest(
    server: ComfyServer,
    row: Row,
    settings: dict[str, Any],
    options: dict[str, Any],
    actions: tuple[str, ...],
    **refinements: dict[str, Any],
) -> float:
    """By how much the last evaluation on resting input is off, when it takes all of the given actions and no other."""
    computed, _ = sample(server, repeat_graph(row.name, COMPUTED, **options))
    graph = repeat_graph(row.name, AT_REST, settings, **options)
    again, report = sample(server, refined(graph, **refinements))
    error, tried = off_by(again, computed), f"{' '.join(actions)} {refinements or 'the default'}"
    taken = {reason.partition(" ")[0] for reason in last_reasons(report)}
    if taken != set(actions):
        row.problems.append(f"at rest, with {tried}, it was {sorted(last_reasons(report))}")
    if not error <= EXACT:
        row.problems.append(f"off by {error:.2g} on identical input, {tried}")
    return error


def last_reasons(report: Report) -> list[str]:
    return [report["reason_texts"][i] for i in report["reasons"][-1]]


def load_toys() -> ModuleType:
    """The package of toys that the test nodes use; they live in ComfyUI's process, and cannot be imported here."""
    folder = Path(__file__).parent / "toy_nodes" / "toys"
    locations = [str(folder)]
    spec = importlib.util.spec_from_file_location("toys", folder / "__init__.py", submodule_search_locations=locations)
    sys.modules["toys"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOYS = load_toys().TOYS


def missing_in(server: ComfyServer) -> dict[str, str]:
    """The toys that this ComfyUI cannot build, and why."""
    outputs = server.run({"missing": node("FastCacheToyMissing")})["outputs"]
    return json.loads(outputs["missing"]["text"][0])
