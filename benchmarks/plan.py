"""What is measured when nothing, or little, is asked for in particular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import rows
from .measure import RUNS
from .rows import NONE, TARGET, Row
from .workloads import SHIFTED, T2I, WORKLOADS, Setting

HALF, FASTER, FRONTIER = (0.5,), (0.5, 0.35), (0.5, 0.35, 0.65)
SEEDS, FEW_SEEDS = 5, 3
QUICK = (rows.DEFAULT, rows.AT_STACK, rows.CALIBRATED, rows.FEWER_STEPS, rows.FEWER_DPMPP, rows.EASYCACHE_SHIPPED,
         rows.EASYCACHE, rows.LAZYCACHE, rows.OUTPUT_OF_DEFAULT, rows.OUTPUT_OF_CALIBRATED,
         *(row for row in rows.PUBLISHED if row.name.startswith("DiCache")))  # fmt: skip
TUNING = 5  # runs that it takes to turn a knob, about, and two more for each further part of the work


@dataclass(frozen=True)
class Part:
    """One setting, its rows, the parts of the work at which they are measured, at how many seeds, and how many runs
    its profiles are made of."""

    setting: Setting
    rows: tuple[Row, ...]
    targets: tuple[float, ...]
    seeds: int = SEEDS
    calibration: int = RUNS

    def targets_of(self, row: Row) -> tuple[float, ...]:
        """Of published methods there are many, so that they have one point each."""
        return self.targets[:1] if row.group == "published" else self.targets

    @property
    def cost(self) -> float:
        """How many uncached runs would take as long, roughly."""
        calibrated = len(self.targets) * 2.25 * self.calibration if any(row.calibrates for row in self.rows) else 0
        return calibrated + sum(self._cost_of(row) for row in self.rows)

    def _cost_of(self, row: Row) -> float:
        targets = self.targets_of(row)
        turned = 0 if row.knob in (NONE, TARGET) else (TUNING + 2 * (len(targets) - 1)) / 2
        return turned + self.seeds * (1 + sum(targets))


def full() -> list[Part]:
    """Everything: all rows where the frontier is drawn, fewer rows, seeds and runs of calibration elsewhere."""
    settings = [Setting(T2I, steps=8), Setting(T2I, steps=50), Setting(T2I, sampler="dpmpp_2m"),
                Setting(T2I, sampler="heun")]  # fmt: skip
    still = [light(Setting(w), rows.STILL, FASTER) for w in WORKLOADS.values() if w not in (T2I, SHIFTED)]
    shifted = light(Setting(SHIFTED), rows.SHORT + rows.CLOSEST, FASTER)
    return [Part(Setting(T2I), rows.ALL, FRONTIER), shifted, *still, *(light(s, rows.SHORT, HALF) for s in settings)]


def light(setting: Setting, wanted: tuple[Row, ...], targets: tuple[float, ...]) -> Part:
    """A part that shall not take long."""
    return Part(setting, wanted, targets, FEW_SEEDS, RUNS // 2)


def quick() -> list[Part]:
    """A look at text to image at half of the work, in a few minutes."""
    return [Part(Setting(T2I), QUICK, HALF, seeds=2)]


def asked_for(workloads: Sequence[str], steps: int | None, sampler: str | None, is_quick: bool) -> list[Part]:
    """The parts of the plan with these workloads, steps and sampler; settings of no plan are measured with all rows."""
    parts = quick() if is_quick else full()
    if steps is None and sampler is None:
        if not workloads:
            return parts
        known = [part for part in parts if part.setting.workload.name in workloads]
        return known or [light(Setting(WORKLOADS[name]), rows.STILL, HALF) for name in workloads]
    settings = [Setting(WORKLOADS[name], steps or 20, sampler or "euler") for name in workloads or (T2I.name,)]
    return [next((p for p in parts if p.setting == s), light(s, parts[0].rows, HALF)) for s in settings]


def with_methods(parts: Sequence[Part], names: Sequence[str], others: Sequence[Row] = ()) -> list[Part]:
    """Only the rows of these names, or whose names contain one of these, and those that they follow; all without names.

    others: rows of other packs, which are added to every part. ValueError: a name that no row contains.
    """
    if not names:
        return [replace(part, rows=(*part.rows, *others)) for part in parts]
    pool = [*rows.ALL, *others]
    chosen = [row for name in names for row in called(name, pool)]
    followed = {row.follows for row in chosen}
    kept = tuple(row for row in pool if row in chosen or row.name in followed)
    return [replace(part, rows=kept) for part in parts]


def called(name: str, pool: Sequence[Row]) -> list[Row]:
    """The row of this name, whatever the case, or else all whose names contain it."""
    exact = [row for row in pool if row.name.lower() == name.lower()]
    found = exact or [row for row in pool if name.lower() in row.name.lower()]
    if not found:
        raise ValueError(f"No row is called {name!r}. There are: {'; '.join(row.name for row in pool)}.")
    return found
