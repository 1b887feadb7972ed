"""Keeps results up to date in bench.json, and in the document and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import document, plots
from .measure import Bench
from .perceptual import Perceptual
from .plan import Part
from .rows import UNCACHED, Row
from .store import Store
from .summary import Result, Summary


class Book:
    """All parts of the plan that were measured so far. document: where tables go, None: nowhere."""

    def __init__(self, store: Store, perceptual: Perceptual, document: Path | None):
        self.store, self.perceptual, self.document = store, perceptual, document
        self.parts: list[tuple[Bench, Part]] = []
        self.results: list[Result] = []

    @property
    def machine(self) -> dict[str, str]:
        return self.store.document["machine"]

    @machine.setter
    def machine(self, found: dict[str, str]) -> None:
        self.store.document["machine"] = found

    def add(self, bench: Bench, part: Part) -> None:
        """One more part of the plan."""
        self.parts.append((bench, part))
        self._write()

    def extend(self, rows: Sequence[Row]) -> None:
        """More rows in every part."""
        self.parts = [(bench, replace(part, rows=(*part.rows, *rows))) for bench, part in self.parts]
        self._write()

    def _write(self) -> None:
        self.results = [
            result
            for bench, part in self.parts
            for result in Summary(bench, self.perceptual.measures, self.perceptual.features).results(part.rows)
        ]
        self.store.document["results"] = self.results
        self.store.write()
        if self.document is not None:
            drawn = [plots.frontiers(found, self.document.parent / "images") for found in self._by_setting()]
            shown = {"plots": document.pictures([path for path in drawn if path is not None])}
            document.write(self.document, self.tables() | shown)

    def _by_setting(self) -> list[list[Result]]:
        settings = dict.fromkeys(result["setting"] for result in self.results)
        return [[result for result in self.results if result["setting"] == setting] for setting in settings]

    def tables(self) -> dict[str, str]:
        """By the names of their markers."""
        rows = list(dict.fromkeys(row for _, part in self.parts for row in part.rows))
        return {
            "machine": document.machine_table(self.machine),
            "rows": document.rows_table([UNCACHED, *rows]),
            "results": document.results_tables(self.results, self.perceptual.missing),
        }
