"""From measurements to results: one for every row and part of the work, with intervals over prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

import numpy as np

from .measure import Bench, Point
from .quality import decibels, frechet_distance, latent_error, similarity
from .rows import CALIBRATED, DEFAULT, FINE, TOKENS, UNCACHED, Row
from .statistics import at_work, difference, interval, saving

Result = dict[str, Any]
# Of each picture, against the reference's; larger is better where the second entry says so.
PICTURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"psnr": decibels, "ssim": similarity}
COMPARED = ("psnr", "ssim")
OWN = (DEFAULT.name, CALIBRATED.name)  # what every row is compared with


@dataclass(frozen=True)
class Frontier:
    """A row's points: work and time, as parts of the uncached run's, and PSNR [points, prompts]."""

    works: list[float]
    times: list[float]
    values: np.ndarray


def versus(where: list[float], values: np.ndarray, at: float, theirs: np.ndarray) -> dict[str, float]:
    """One of our rows minus another at its work, or time; at: what is nearest to it of where ours was measured."""
    nearest = min(max(at, min(where)), max(where))
    return asdict(difference(at_work(where, values, at), theirs)) | {"at": nearest}


class Summary:
    """Results of one setting. perceptual: measures of pictures that need other packages, by name; features: of
    pictures, for the Frechet distance, or None."""

    def __init__(
        self,
        bench: Bench,
        perceptual: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]],
        features: Callable[[np.ndarray], np.ndarray] | None,
    ):
        self.bench, self.store = bench, bench.store
        self.pictures, self.features = PICTURES | dict(perceptual), features
        self.references = bench.points[UNCACHED.name, 1.0].keys

    def results(self, rows: Sequence[Row]) -> list[Result]:
        """All points of these rows, the uncached one first."""
        points = [(row, p) for row in (UNCACHED, *rows) for p in self.bench.points.values() if p.row == row.name]
        frontiers = {name: frontier for name in OWN if (frontier := self._frontier(name)) is not None}
        return [self._result(row, point, frontiers) for row, point in points]

    def _result(self, row: Row, point: Point, frontiers: Mapping[str, Any]) -> Result:
        setting = self.bench.setting
        told = {
            "setting": setting.name, "workload": setting.workload.name, "steps": setting.steps,
            "sampler": setting.sampler, "row": row.name, "group": row.group, "target": point.target,
            "knob": row.knob.name, "value": point.value, "problem": point.problem,
        }  # fmt: skip
        if point.problem:
            return told
        records = [self._compared(key, reference) for key, reference in zip(point.keys, self.references, strict=True)]
        work = mean(record["work"] for record in records)
        told |= {
            "work": work,
            "seconds": median(record["seconds"] for record in records),
            "uncached_seconds": median(record["uncached_seconds"] for record in records),
            "speedup": median(record["uncached_seconds"] / record["seconds"] for record in records),
            "disturbed": any(record["disturbed"] for record in records),
            "cache_bytes_peak": max((record.get("cache_bytes_peak") or 0 for record in records), default=0),
        }
        for name in (*self.pictures, "latent"):
            values = self._per_prompt(records, name)
            told[name] = asdict(interval(values)) | {"worst": extreme(name, records)}
        if self.features is not None:
            told["frechet"] = frechet_distance(self._features(point.keys), self._features(self.references))
        values, fine = self._per_prompt(records, "psnr"), self.bench.points.get((FINE.name, 1.0))
        if fine is not None and not fine.problem:
            pairs = zip(point.keys, fine.keys, strict=True)
            told["psnr_to_fine"] = mean(self._to_fine(*keys) for keys in pairs)
        others = {own: f for own, f in frontiers.items() if own != row.name and row.group != UNCACHED.group}
        told["versus"] = {own: versus(f.works, f.values, work, values) for own, f in others.items()}
        time = 1 / told["speedup"]
        told["versus_in_time"] = {own: versus(f.times, f.values, time, values) for own, f in others.items()}
        alone = others.get(TOKENS.get(row.name, ""))
        if alone is not None:
            told["saved"] = asdict(saving(work, values, alone.works, alone.values))
        return told

    def _to_fine(self, key: str, reference: str) -> float:
        """Mean PSNR of one measurement against the converged pictures."""
        return float(decibels(self.store.arrays(key)["images"], self.store.arrays(reference)["images"]).mean())

    def _frontier(self, name: str) -> Frontier | None:
        """Of one of our rows, where it was measured."""
        found = [point for point in self.bench.points.values() if point.row == name and not point.problem]
        measured = [[self._compared(k, r) for k, r in zip(p.keys, self.references, strict=True)] for p in found]
        if not measured:
            return None
        return Frontier(
            [mean(record["work"] for record in records) for records in measured],
            [median(record["seconds"] / record["uncached_seconds"] for record in records) for records in measured],
            np.stack([self._per_prompt(records, "psnr") for records in measured]),
        )

    def _per_prompt(self, records: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
        """The mean over seeds, and over a video's frames [prompts]."""
        prompts = len(self.bench.prompts)
        return np.mean([np.reshape(record["quality"][name], (prompts, -1)).mean(axis=1) for record in records], axis=0)

    def _compared(self, key: str, reference: str) -> dict[str, Any]:
        """A measurement with its quality, which is worked out once and kept."""
        record = self.store.document["measurements"][key]
        known = record.get("quality", {})
        missing = [name for name in (*self.pictures, "latent") if name not in known or known["of"] != reference]
        if missing:
            own, wanted = self.store.arrays(key), self.store.arrays(reference)
            found = {name: self.pictures[name](own["images"], wanted["images"]) for name in missing if name != "latent"}
            if "latent" in missing:
                found["latent"] = latent_error(own["latents"], wanted["latents"])
            kept = {name: np.round(values, 6).tolist() for name, values in found.items()}
            record["quality"] = (known if known.get("of") == reference else {}) | kept | {"of": reference}
            self.store.write()
        return record

    def _features(self, keys: Sequence[str]) -> np.ndarray:
        assert self.features is not None
        return np.concatenate([self.store.derived(key, "features", self._features_of) for key in keys])

    def _features_of(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        assert self.features is not None
        return self.features(arrays["images"])


def extreme(name: str, records: Sequence[Mapping[str, Any]]) -> float:
    """The worst of all pictures: the least PSNR or SSIM, the largest of the others."""
    values = np.concatenate([np.ravel(record["quality"][name]) for record in records])
    return float(values.min() if name in COMPARED else values.max())
