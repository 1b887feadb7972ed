"""What was measured, kept at once: a JSON file, and a file of arrays for every measurement with pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = "fastcache.bench/1"
Record = dict[str, Any]


class StoreError(RuntimeError):
    """The file cannot be read, or is not ours."""


class Store:
    """`folder`/bench.json and `folder`/bench/*.npz. A measurement's key tells all that it depends on."""

    def __init__(self, folder: Path):
        self.path, self.arrays_folder = folder / "bench.json", folder / "bench" / "arrays"
        self.arrays_folder.mkdir(parents=True, exist_ok=True)
        self.document = self._read()

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {"schema": SCHEMA, "machine": {}, "measurements": {}, "results": []}
        cure = "Move it away to start afresh, or choose another folder with --out; it was not changed."
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StoreError(f"{self.path} is no JSON ({error}). {cure}") from None
        schema = document.get("schema") if isinstance(document, dict) else None
        if schema != SCHEMA or not isinstance(document.get("measurements"), dict):
            raise StoreError(f"{self.path} has the schema {schema!r} in place of {SCHEMA!r}. {cure}")
        return document

    def get(self, key: str, arrays: bool) -> Record | None:
        """A measurement, or None; arrays: one without its arrays does not count."""
        record = self.document["measurements"].get(key)
        return None if record is None or (arrays and not self._arrays(key).is_file()) else record

    def put(self, key: str, record: Record, **arrays: np.ndarray) -> None:
        """Keep a measurement for good."""
        if arrays:
            np.savez_compressed(self._arrays(key), **arrays)
        self.document["measurements"][key] = record
        self.write()

    def arrays(self, key: str) -> dict[str, np.ndarray]:
        """The arrays of a measurement, by name."""
        with np.load(self._arrays(key)) as kept:
            return dict(kept)

    def derived(self, key: str, name: str, make: Callable[[dict[str, np.ndarray]], np.ndarray]) -> np.ndarray:
        """What is worked out from a measurement's arrays, once."""
        path = self._arrays(f"{key}.{name}")
        if not path.is_file():
            np.savez_compressed(path, found=make(self.arrays(key)))
        with np.load(path) as kept:
            return kept["found"]

    def _arrays(self, key: str) -> Path:
        return self.arrays_folder / f"{key}.npz"

    def write(self) -> None:
        """Put the file in place at once, so that an interrupt leaves the old or the new one."""
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self.document, indent=1), encoding="utf-8")
        os.replace(beside, self.path)
