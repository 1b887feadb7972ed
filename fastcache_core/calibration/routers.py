"""Routers of Learning-to-Cache (arXiv 2406.01733): its released files in, masks out; nothing in a file is executed.

A released file is what `torch.save` made of {"routers": {"0.prob": float32 [layers], ...}, "opt": ..., "args": ...}, or
of the inner mapping alone: one logit for each sub-layer at each evaluation, attention and MLP of a block in turn. The
number is the place among the sampler's timesteps, 0 the cleanest. A sub-layer is computed where sigmoid(logit) is above
theta, else what it gave at the evaluation before is used. `python3 -m fastcache_core.calibration.routers FILE OUT`
turns such a file into one that is nothing but numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..schedule import Schedule
from .pickled import PickleError, read_saved
from .schedules import THETA

KEY, SCHEMA = "fastcache", "fastcache.router/1"
MOST_GATES = 10**7
NAME = re.compile(r"(\d{1,6})\.prob")


class RouterError(ValueError):
    """A router, or a file that should be one, is invalid; says in a sentence which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class Router:
    """logits: of every evaluation that may be cached, by its place from the end (0 is the last), [layers] each.

    evaluations: how many the sampler makes. The others are computed, and fill what is reused.
    """

    logits: dict[int, Tensor]
    evaluations: int

    def __post_init__(self) -> None:
        sizes = {len(values) for values in self.logits.values()}
        if not self.logits or len(sizes) != 1 or 0 in sizes:
            raise RouterError("A router needs equally many logits, at least one, for each of its evaluations.")
        if not all(0 <= place < self.evaluations for place in self.logits):
            raise RouterError(f"The router has places beyond its {self.evaluations} evaluations.")
        if self.evaluations * self.layers > MOST_GATES:
            raise RouterError(f"The router has {self.evaluations} times {self.layers} gates, more than any model.")
        if any(values.isnan().any() for values in self.logits.values()):
            raise RouterError("The router has a NaN in it. Fetch the file again.")

    @property
    def layers(self) -> int:
        return len(next(iter(self.logits.values())))

    def computed(self, theta: float = THETA) -> list[list[int]]:
        """The mask [evaluations][layers], from the first evaluation to the last."""
        rows = [[1] * self.layers for _ in range(self.evaluations)]
        for place, values in self.logits.items():
            rows[self.evaluations - 1 - place] = (values.double().sigmoid() > theta).int().tolist()
        return rows

    def removed(self, theta: float = THETA) -> tuple[int, int]:
        """Sub-layers left out at the evaluations that may be cached, and how many there are."""
        kept = sum(int((values.double().sigmoid() > theta).sum()) for values in self.logits.values())
        every = self.layers * len(self.logits)
        return every - kept, every

    def describe(self, theta: float = THETA) -> str:
        """As the paper counts: '47.43 % of layers removed on cached evaluations (664 of 1400)'."""
        removed, every = self.removed(theta)
        return f"{removed / every:.2%} of layers removed on cached evaluations ({removed} of {every})".replace(
            "%", " %"
        )

    def schedule(self, sigmas: list[float], theta: float = THETA) -> Schedule:
        """The mask as a profile's schedule, for a sampler with these sigmas."""
        if len(sigmas) != self.evaluations:
            raise RouterError(
                f"The router is for {self.evaluations} evaluations, but {len(sigmas)} sigmas were given; "
                "sample with as many steps as it was trained for."
            )
        return Schedule(list(sigmas), self.computed(theta))

    def save(self, path: str | os.PathLike) -> None:
        """Write a .safetensors file; RouterError where that cannot be."""
        places = sorted(self.logits)
        tensors = {
            "logits": torch.stack([self.logits[place] for place in places]).float(),
            "places": torch.tensor(places),
        }
        header = {"schema": SCHEMA, "evaluations": self.evaluations}
        try:
            save_file(tensors, path, {KEY: json.dumps(header)})
        except (OSError, SafetensorError) as error:
            raise RouterError(f"{path} could not be written ({error}). Check the folder.") from error

    @classmethod
    def load(cls, path: str | os.PathLike) -> Router:
        """The router in a .safetensors file that `save` wrote; RouterError, with the path in its sentence."""
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                header = json.loads((file.metadata() or {}).get(KEY, "null"))
                if not isinstance(header, dict) or header.get("schema") != SCHEMA:
                    raise RouterError(f"The schema is not {SCHEMA}. Choose another file.")
                logits, places = file.get_tensor("logits").clone(), file.get_tensor("places")
                if logits.ndim != 2 or not logits.is_floating_point() or places.dtype != torch.int64:
                    raise RouterError("It does not hold logits [evaluations, layers] and places.")
                return cls(dict(zip(places.tolist(), logits, strict=True)), int(header["evaluations"]))
        except RouterError as error:
            raise RouterError(f"{path}: {error}") from error
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise RouterError(f"{path} is no router ({error}). Convert the original again.") from error


def router_of(logits: Tensor) -> Router:
    """From logits [evaluations, layers] in the sampler's order; evaluations whose logits are infinite are computed."""
    last = len(logits) - 1
    return Router({last - e: row for e, row in enumerate(logits) if not row.isinf().all()}, len(logits))


def read_released(path: str | os.PathLike) -> Router:
    """A released file. RouterError when it is none, or holds anything but data.

    Of a file with "routers" (DiT) the even places were trained, the odd ones are left-overs. A bare mapping (U-ViT with
    a solver of two evaluations a step) has one place a step, for its second evaluation, and its first one is not used.
    """
    try:
        saved = read_saved(Path(path).read_bytes())
    except OSError as error:
        raise RouterError(f"{path} could not be read ({error}). Check its name and your rights to it.") from error
    except PickleError as error:
        raise RouterError(f"{path}: {error}") from error
    paired = isinstance(saved, Mapping) and "routers" in saved
    table = _logits(saved["routers"] if paired else saved, path)
    steps = max(table) + 1
    if paired:
        return Router({place: values for place, values in table.items() if place % 2 == 0}, steps)
    return Router({2 * (steps - 1 - step): values for step, values in table.items() if step}, 2 * steps)


def _logits(table: Any, path: str | os.PathLike) -> dict[int, Tensor]:
    if not isinstance(table, Mapping) or not table:
        raise RouterError(f"{path} holds no mapping of routers. Choose a router file of Learning-to-Cache.")
    found = {}
    for name, values in table.items():
        match = NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None or not isinstance(values, np.ndarray) or values.ndim != 1:
            raise RouterError(f"{path} has an entry {name!r}, but routers are named like '12.prob' and are lists.")
        found[int(match[1])] = torch.from_numpy(values.astype(np.float32))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Turn a released router of Learning-to-Cache into a .safetensors file."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--theta", type=float, default=THETA, help="for the percentage that is shown (default %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        router = read_released(arguments.file)
        router.save(arguments.out)
    except RouterError as error:
        parser.exit(1, f"{error}\n")
    sys.stdout.write(f"{arguments.out}: {router.evaluations} evaluations, {router.describe(arguments.theta)}.\n")


if __name__ == "__main__":
    main()
