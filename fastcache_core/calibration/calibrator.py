"""One calibration: which runs to make, what to learn from them, and the profile that comes of it.

    while (trial := calibrator.next()) is not None:
        latents = <sample trial.seed with trial.config, trial.profile and trial.recorder>
        calibrator.take(trial, latents)
    profile = calibrator.profile(family, made_for)

First uncached runs are recorded. Linear maps and forecasts are fitted on them (fits.py), and the mask over evaluations
that the wanted speedup allows is found by dynamic programming on the recorded residuals (search.py); a mask over
evaluations and blocks is made, too. Then masks are tried for real, for the blocks' work and for the model's output:
whose final latents come closest to the uncached ones wins, and its neighbours are tried next (hill climbing). Whoever
samples may stop after any trial and go on later.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import BlockCacheConfig, FastCacheConfig
from ..linear import LinearMap
from ..memory import IMAGE
from ..profile import Profile
from ..schedule import Schedule
from .curves import fit_curves
from .fits import FittedMap, fit_factors, fit_map, left_over
from .part_recorder import PartRecorder
from .recorder import BUDGET, Range, Recorder, Samples
from .schedules import change_table
from .search import Mask, MaskSearch, greedy_blocks

MOST_GAP = 8
LEAST_EVALUATIONS = 6
LEAST_COMPUTED = 2  # of a run: the first and the last
COMPARED = 2  # runs that every tried mask is compared on
DENSE_WIDTH = 1024  # up to which spans and single blocks may get matrices
# Settings of runs that are recorded, which compute everything, and of those that try a mask.
RECORDED = FastCacheConfig(BlockCacheConfig(rule="interval", interval=1, min_steps=1))
PARTS = FastCacheConfig(BlockCacheConfig(rule="interval", interval=1, min_steps=1, level="sublayer"))
TRIED = FastCacheConfig(BlockCacheConfig(rule="schedule", min_steps=1))


class CalibrationError(ValueError):
    """Calibration cannot be done; says in a sentence why, and what to do."""


@dataclass(frozen=True)
class Trial:
    """One run to make: with the calibration's seed plus `seed`, these settings, this profile; and a recorder, if it is
    to be recorded. why: in words, for people who wait."""

    seed: int
    config: FastCacheConfig
    profile: Profile | None
    recorder: Recorder | PartRecorder | None
    why: str


@dataclass
class _Candidate:
    """A mask that may be tried, most never are: how to make its schedule, which takes a while, errors of its runs."""

    make: Callable[[], Schedule]
    mask: Mask | None  # None: over blocks, too
    whole: bool = False  # whether the model's output is predicted
    errors: list[float] = field(default_factory=list)

    @functools.cached_property
    def schedule(self) -> Schedule:
        return self.make()


class Calibrator:
    """runs: how many uncached ones are recorded; as many more, or nearly, are spent on trying masks.

    target_speedup: uncached over cached work of the blocks. budget: bytes of what is recorded. parts: whether the
    model's attention and MLP modules can be reached, which takes one run more.
    """

    def __init__(self, runs: int, target_speedup: float, budget: int = BUDGET, parts: bool = False):
        if runs < 1 or target_speedup <= 1:
            raise CalibrationError(
                f"There are {runs} runs and a target_speedup of {target_speedup:g}; it takes one run, and more than 1."
            )
        self.runs, self.target_speedup = runs, target_speedup
        self.recorder = Recorder(runs, budget)
        self.parts = PartRecorder(budget) if parts else None
        self._parts_left = int(parts)
        self.samples: Samples | None = None
        self.references: list[Tensor] = []
        self._recorded, self._tried, self._judged, self._most = 0, 0, 0, max(4, runs)
        self._queue: deque[_Candidate] = deque()
        self._first: list[_Candidate] = []  # tried before any neighbours
        self._known: dict[tuple[Mask, bool], _Candidate] = {}
        self._best: _Candidate | None = None
        self._maps: dict[Range, FittedMap] = {}
        self._search: MaskSearch | None = None
        self._rest: Tensor | None = None  # of the stack's residuals, what its linear map leaves

    @property
    def compared(self) -> int:
        return min(COMPARED, self.runs)

    @property
    def progress(self) -> tuple[int, int]:
        """Runs that were made, and all there will be at most."""
        parts = int(self.parts is not None)
        done = self._recorded + parts - self._parts_left + self._tried
        return done, self.runs + parts + self._most * self.compared

    def next(self) -> Trial | None:
        """The run to make now; None when all is done. CalibrationError when nothing can be learned."""
        if self._recorded < self.runs:
            why = f"uncached run {self._recorded + 1} of {self.runs}"
            return Trial(self._recorded, RECORDED, None, self.recorder, why)
        if self._parts_left:
            return Trial(0, PARTS, None, self.parts, "uncached run, attention and MLPs")
        if self._best is None and not self._queue:
            self._learn()
        if self._tried >= self._most * self.compared or not self._queue:
            return None
        candidate = self._queue[0]
        seed = len(candidate.errors)
        why = f"trying a schedule, run {self._tried + 1}"
        return Trial(seed, TRIED, self._profile(candidate.schedule), None, why)

    def take(self, trial: Trial, latents: Tensor) -> None:
        """A trial was sampled to its end and gave these latents."""
        latents = latents.detach().double().cpu()
        if trial.recorder is not None and trial.recorder is self.parts:
            self._parts_left = 0
            return
        if trial.recorder is not None:
            self._recorded += 1
            self._check_recordings()
            if len(self.references) < self.compared:
                self.references.append(latents)
            return
        self._tried += 1
        candidate, reference = self._queue[0], self.references[trial.seed]
        error = float((latents - reference).norm() / (reference.norm() + 1e-12))
        candidate.errors.append(error if math.isfinite(error) else math.inf)  # nothing is larger than NaN, or less
        if len(candidate.errors) == self.compared:
            self._queue.popleft()
            self._judge(candidate)

    def _check_recordings(self) -> None:
        """After the first run, before people wait for others that would tell no more."""
        if self.recorder.is_empty:
            raise CalibrationError(
                "Nothing was recorded: no call of the model took the same tokens through all of its blocks at every "
                "evaluation. Another node may call it on parts of the picture, or its lists of blocks see different "
                "tokens. Remove that node, or use FastCache without a profile."
            )
        evaluations = len(self.recorder.sigmas)
        if evaluations < LEAST_EVALUATIONS:
            raise CalibrationError(
                f"A run has {evaluations} evaluations, but it takes {LEAST_EVALUATIONS} to skip any; sample with more "
                "steps."
            )

    def _judge(self, candidate: _Candidate) -> None:
        """Keep it if it is the best so far, and try its neighbours then."""
        self._judged += 1
        if self._best is None or _error(candidate) < _error(self._best):
            self._best = candidate
            if candidate.mask is not None:
                around = [self._candidate(mask, candidate.whole) for mask in self._search.neighbours(candidate.mask)]
                others = [known for known in self._queue if known in self._first]
                self._queue = deque([*others, *(near for near in around if not near.errors)])

    # Learning.

    def _learn(self) -> None:
        """Again, if it failed before: then it fails with the same sentence."""
        self.samples = self.samples or self.recorder.samples()
        evaluations = len(self.samples.sigmas)
        if not all(part.isfinite().all() for part in self._stack()):
            raise CalibrationError(
                "The model's hidden states have a NaN or an infinity in them, from which nothing can be learned; "
                "sample in another precision, such as bfloat16."
            )
        self._fit_maps()
        self._rest = left_over(*self._stack(), self._linear(self.samples.stack))
        # Differences alone count, which would drown in the rounding of what all evaluations have in common.
        flat = (self._rest - self._rest.mean(dim=0)).flatten(1)
        self._search = MaskSearch((flat @ flat.T).double().numpy(), self.samples.sigmas, self.samples.places)
        computed = max(LEAST_COMPUTED, min(evaluations - 1, round(evaluations / self.target_speedup)))
        over_blocks = self._over_blocks(computed / evaluations)
        best = self._search.best(computed)
        self._first = [self._candidate(best, whole=False), self._candidate(best, whole=True), *over_blocks]
        self._queue.extend(self._first)

    def _over_blocks(self, work: float) -> list[_Candidate]:
        """A mask over evaluations and blocks; none where the changes are not known, or not so far as this takes."""
        changes = self._changes()
        if changes is None:
            return []
        rows = greedy_blocks(changes.double().numpy(), work)
        schedule = Schedule(self.samples.sigmas, rows.tolist())
        return [_Candidate(lambda: schedule, None)] if rows.mean() <= work + 1 / rows.size else []

    def _stack(self) -> tuple[Tensor, Tensor]:
        key = self.samples.stack
        return self.samples.states[key], self.samples.residuals[key]

    def _linear(self, key: Range) -> LinearMap | None:
        return self._maps[key].linear if key in self._maps else None

    def _fit_maps(self) -> None:
        """One for all blocks together, for each span, and for each block."""
        stack = self.samples.stack
        for key in dict.fromkeys([stack, *self.recorder.spans, *self._single()]):
            kept = self.samples.span(*key)
            if kept is not None:
                dense = key == stack or self.samples.width <= DENSE_WIDTH
                found = fit_map(*kept, self.samples.runs[stack if key == stack else (key[0], key[0])], dense=dense)
                self._maps |= {key: found} if found else {}

    def _single(self) -> list[Range]:
        return [(block, block) for block in range(len(self.samples.blocks))]

    def _candidate(self, mask: Mask, whole: bool) -> _Candidate:
        return self._known.setdefault((mask, whole), _Candidate(lambda: self._scheduled(mask, whole), mask, whole))

    def _scheduled(self, mask: Mask, whole: bool) -> Schedule:
        sigmas, blocks = self.samples.sigmas, len(self.samples.blocks)
        computed = [int(e in mask) for e in range(len(sigmas))]
        if whole:
            return Schedule(sigmas, [[bit] * blocks for bit in computed], whole=True)
        fitted = fit_factors(self._rest, self._stack()[1], self.samples.places, computed)
        return Schedule(sigmas, [[bit] * blocks for bit in computed], fitted.factors)

    def _changes(self) -> Tensor | None:
        """The change table of single blocks, where they were recorded."""
        if not all(key in self.samples.residuals for key in self._single()):
            return None
        return torch.stack([change_table(self.samples.residuals[key], self._gap) for key in self._single()])

    @property
    def _gap(self) -> int:
        return min(MOST_GAP, len(self.samples.sigmas) - 1)

    # What comes of it.

    def profile(self, family: str, made_for: Mapping[str, str | int | float] | None = None) -> Profile:
        """What was learned, of a model of this family; made_for: with what, in words and numbers."""
        if self._best is None:
            raise CalibrationError("The calibration did not come to its end; queue it once more to go on.")
        if not math.isfinite(_error(self._best)):
            raise CalibrationError(
                "No schedule gave latents without a NaN or an infinity. Look whether the model samples well without "
                "FastCache; if it does, ask for a lower target_speedup."
            )
        return self._profile(self._best.schedule, family, dict(made_for or {}), self._scores())

    def _profile(
        self, schedule: Schedule, family: str = "any", made_for: dict | None = None, scores: dict | None = None
    ) -> Profile:
        samples = self.samples
        linear = {(*key, self._stream(key)): found.linear for key, found in self._maps.items()}
        return Profile(
            family,
            samples.width,
            list(samples.blocks),
            made_for or {},
            linear,
            schedule,
            **({} if scores is None else self._measured() | {"scores": scores}),
        )

    def _measured(self) -> dict[str, Any]:
        """What rules of published methods look up."""
        measured = {"changes": self._changes(), "curves": fit_curves(*self._stack(), self.samples.sigmas)}
        of_parts = self.parts and self.parts.changes(self._gap)
        same = of_parts is not None and of_parts.shape[1] == len(self.samples.sigmas)
        return measured | ({"parts": self.parts.names, "part_changes": of_parts} if same else {})

    def _stream(self, key: Range) -> str:
        """Name of the stream that holds the image tokens of a range of blocks, as the engine keeps it."""
        ends = self.recorder.joined and key[1] == len(self.samples.blocks) - 1
        return IMAGE if ends else self.recorder.streams[key[0]]

    def _scores(self) -> dict[str, float | list[float]]:
        explained = [self._maps[key].explained if key in self._maps else 0.0 for key in self._single()]
        stack = self._maps.get(self.samples.stack)
        return {
            "explained": explained,
            "explained_stack": stack.explained if stack else 0.0,
            "final_error": _error(self._best),
            "work": self._best.schedule.work,
        }

    def summary(self) -> list[str]:
        """What was learned, in sentences."""
        scores, samples = self._scores(), self.samples
        tokens = samples.states[samples.stack].shape[1]
        stack = self._maps.get(samples.stack)
        kind = stack.linear.describe() if stack else "none"
        mean = np.mean(scores["explained"])
        return [
            f"Recorded {tokens} tokens over {len(samples.sigmas)} evaluations of {self.runs} runs, "
            f"{samples.nbytes / 2**20:.0f} MB.",
            f"A linear map ({kind}) explains {scores['explained_stack']:.0%} of how the blocks' work changes, maps of "
            f"single blocks {mean:.0%} on average.",
            f"The best of {self._judged} schedules computes {scores['work']:.0%} of the work; final latents differ "
            f"by {scores['final_error']:.2%} from those computed in full.",
            *self._out_of_reach(),
            *dict.fromkeys(self.recorder.notes),
        ]

    def _out_of_reach(self) -> list[str]:
        """A sentence where even the shortest schedule is not as fast as was wanted."""
        evaluations = len(self.samples.sigmas)
        if round(evaluations / self.target_speedup) >= LEAST_COMPUTED:
            return []
        return [
            f"A target_speedup of {self.target_speedup:g} is out of reach: of {evaluations} evaluations, "
            f"{LEAST_COMPUTED} are computed at least."
        ]


def _error(candidate: _Candidate) -> float:
    return float(np.mean(candidate.errors))
