"""What is measured when nothing, or little, is asked for in particular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import rows
from .measure import RUNS
from .rows import NONE, TARGET, Row
from .workloads import T2I, WORKLOADS, Setting

HALF, FRONTIER = (0.5,), (0.5, 0.35, 0.65)
QUICK = (rows.DEFAULT, rows.AT_OUTPUT, rows.CALIBRATED, rows.FEWER_STEPS, rows.FEWER_DPMPP, rows.EASYCACHE_SHIPPED,
         rows.EASYCACHE, rows.LAZYCACHE, rows.OUTPUT_OF_DEFAULT, rows.OUTPUT_OF_CALIBRATED,
         *(row for row in rows.PUBLISHED if row.name.startswith("DiCache")))  # fmt: skip
TUNING = 5  # runs that it takes to turn a knob, about, and two more for each further part of the work
TRIALS = 20  # quicker runs of a calibration, in whole ones


@dataclass(frozen=True)
class Part:
    """One setting, its rows, and the parts of the work at which they are measured."""

    setting: Setting
    rows: tuple[Row, ...]
    targets: tuple[float, ...]

    def runs(self, seeds: int) -> float:
        """How many uncached runs would take as long, roughly."""
        points = len(self.targets)
        turned = sum(row.knob not in (NONE, TARGET) for row in self.rows) * (TUNING + 2 * (points - 1)) / 2
        calibrated = points * (RUNS + TRIALS) if any(row.calibrates for row in self.rows) else 0
        return turned + calibrated + len(self.rows) * seeds * (1 + sum(self.targets))


def full() -> list[Part]:
    """Everything: all rows where the frontier is drawn, fewer where it is only looked after."""
    settings = [Setting(T2I, steps=8), Setting(T2I, steps=50), Setting(T2I, sampler="dpmpp_2m"),
                Setting(T2I, sampler="heun")]  # fmt: skip
    still = [Part(Setting(w), rows.STILL, FRONTIER) for w in WORKLOADS.values() if w is not T2I]
    return [Part(Setting(T2I), rows.ALL, FRONTIER), *still, *(Part(s, rows.SHORT, HALF) for s in settings)]


def quick() -> list[Part]:
    """A look at text to image at half of the work, in a few minutes."""
    return [Part(Setting(T2I), QUICK, HALF)]


def asked_for(workloads: Sequence[str], steps: int | None, sampler: str | None, is_quick: bool) -> list[Part]:
    """The parts of the plan with these workloads, steps and sampler; settings of no plan are measured with all rows."""
    parts = quick() if is_quick else full()
    if steps is None and sampler is None:
        if not workloads:
            return parts
        known = [part for part in parts if part.setting.workload.name in workloads]
        return known or [Part(Setting(WORKLOADS[name]), rows.STILL, HALF) for name in workloads]
    settings = [Setting(WORKLOADS[name], steps or 20, sampler or "euler") for name in workloads or (T2I.name,)]
    return [next((p for p in parts if p.setting == s), Part(s, parts[0].rows, HALF)) for s in settings]


def with_methods(parts: Sequence[Part], names: Sequence[str], others: Sequence[Row] = ()) -> list[Part]:
    """Only the rows of these names, or whose names contain one of these, and those that they follow; all without names.

    others: rows of other packs, which are added to every part. ValueError: a name that no row contains.
    """
    if not names:
        return [Part(part.setting, (*part.rows, *others), part.targets) for part in parts]
    pool = [*rows.ALL, *others]
    chosen = [row for name in names for row in called(name, pool)]
    followed = {row.follows for row in chosen}
    kept = tuple(row for row in pool if row in chosen or row.name in followed)
    return [Part(part.setting, kept, part.targets) for part in parts]


def called(name: str, pool: Sequence[Row]) -> list[Row]:
    """The row of this name, whatever the case, or else all whose names contain it."""
    exact = [row for row in pool if row.name.lower() == name.lower()]
    found = exact or [row for row in pool if name.lower() in row.name.lower()]
    if not found:
        raise ValueError(f"No row is called {name!r}. There are: {'; '.join(row.name for row in pool)}.")
    return found
