"""Remembers, of a few tokens, what enters and leaves every block at every evaluation of uncached runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..calls import BlockCall, Streams
from ..ranks import Alone

BUDGET = 2**29  # bytes, in system memory
MOST_TOKENS = 4096  # of all runs together; fits on more take longer and say the same
BRANCHES = 2  # that most runs have; the tokens are shared out among them, and more are not recorded
BYTES = torch.finfo(torch.float32).bits // 8  # of a number, once it is handed over
LEAST_TOKENS = 4  # of all runs together, of which single blocks are still worth recording

Range = tuple[int, int]  # first and last block


@dataclass(frozen=True)
class Samples:
    """What was recorded, on the CPU in float32, by ranges of blocks: (b, b) single blocks, (0, B - 1) all of them.

    sigmas and places [E] (path.py); states, what entered, and residuals, what the blocks added to it, [E, tokens,
    width]; runs, of the same keys: which run each token is from, [tokens].
    """

    blocks: list[str]
    sigmas: list[float]
    places: list[float]
    states: dict[Range, Tensor]
    residuals: dict[Range, Tensor]
    runs: dict[Range, Tensor]

    @property
    def stack(self) -> Range:
        return 0, len(self.blocks) - 1

    @property
    def width(self) -> int:
        return self.states[self.stack].shape[-1]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for kept in (self.states, self.residuals) for tensor in kept.values())

    def span(self, first: int, last: int) -> tuple[Tensor, Tensor] | None:
        """State and residual of consecutive blocks, from the single ones; None where these were not recorded."""
        if (first, last) in self.states:
            return self.states[first, last], self.residuals[first, last]
        single = [(block, block) for block in range(first, last + 1)]
        # A block that another patch took the place of, or skips for some, was not recorded, or not with all tokens.
        if not all(key in self.runs and self.runs[key].equal(self.runs[single[0]]) for key in single):
            return None
        return self.states[single[0]], sum(self.residuals[key] for key in single)


@dataclass
class _Branch:
    """Of one branch of one run, by range and evaluation: [samples * tokens, width]."""

    states: dict[Range, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    outputs: dict[Range, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def has(self, key: Range, evaluations: int) -> bool:
        """Whether these blocks were recorded at so many evaluations, and hand on what is as wide as what entered."""
        states, outputs = self.states.get(key, ()), self.outputs.get(key, ())
        return len(states) == len(outputs) == evaluations and states[0].shape == outputs[0].shape


def joined(parts: Sequence[dict[Range, Tensor]], dim: int) -> dict[Range, Tensor]:
    """Of what several ranks recorded, what all of them did, along the tokens' dimension."""
    if len(parts) == 1:
        return parts[0]
    common = [key for key in parts[0] if all(key in part for part in parts)]
    return {key: torch.cat([part[key] for part in parts], dim=dim) for key in common}


class Recorder:
    """Of all the runs of one calibration. runs: how many there will be; budget: bytes that may be kept.

    Where a sampler makes several evaluations a step, the first run takes as many times its share. The same tokens are
    followed through a run; every run has others.
    """

    def __init__(self, runs: int, budget: int = BUDGET):
        self.runs, self.budget = runs, budget
        self.blocks: list[str] = []
        self.sigmas: list[float] = []
        self.places: list[float] = []
        self.notes: list[str] = []
        self.streams: dict[int, str] = {}  # which one holds the image tokens, by block
        self._kept: list[tuple[int, dict[Hashable, _Branch]]] = []
        self.spans: list[Range] = []
        self.begin_run([], 1)

    def begin_run(
        self,
        blocks: Sequence[str],
        steps: int,
        spans: Sequence[Range] = (),
        joined: bool = True,
        ranks: Alone | None = None,
    ) -> None:
        """A run starts, over blocks that may be predicted in these spans; one that did not end is forgotten.

        joined: whether the head follows the last block, of which then nothing but the image is kept. ranks: the
        processes that sample together, of which each records its share of tokens.
        """
        self.joined, self._ranks = joined, ranks or Alone()
        self.spans, self._steps, self._names = list(spans), max(1, steps), list(blocks)
        self._now: dict[Hashable, _Branch] = {}
        self._sigmas: list[float] = []
        self._places: list[float] = []
        self._chosen: tuple[Tensor, int] | None = None
        self._length = 0  # of what these tokens are chosen from
        self._entered: Tensor | None = None

    def entering(self, call: BlockCall, branches: int) -> None:
        """A block is about to be computed; it may write into what it is given."""
        if self._chosen is None:
            self._chosen, self._length = self._choose(call, branches), call.tokens.shape[1]
        self._entered = None
        if call.tokens.shape[1] != self._length:
            return  # an area of the picture, or the last window of a long sound: it has not got all these tokens
        tokens = self._followed(call.index)
        self._entered = self._of(call.tokens, tokens) if len(tokens) else None

    def leaving(
        self,
        call: BlockCall,
        streams: Streams,
        branches: Sequence[Hashable],
        evaluation: int,
        sigma: float,
        place: float | None = None,
    ):
        """It was computed, and this came out."""
        name, span = call.image
        self.streams[call.index] = name
        if name not in streams or streams[name].shape[1] < span.stop or self._entered is None:
            return
        if evaluation == len(self._sigmas):
            self._sigmas.append(sigma)
            self._places.append(sigma if place is None else place)
        (_, few), last = self._chosen, len(self._names) - 1
        out = self._of(streams[name][:, span.start : span.stop], self._followed(call.index))
        parts = self._entered.chunk(len(branches)), out.chunk(len(branches))
        for key, state, left in zip(branches, *parts, strict=True):
            if key not in self._now and len(self._now) == BRANCHES:
                continue
            branch = self._now.setdefault(key, _Branch())
            if few and last:
                self._keep(branch, (call.index, call.index), state[:, :few], left[:, :few])
            if call.index == 0:
                branch.states[0, last].append(state.flatten(0, 1))
            if call.index == last:
                branch.outputs[0, last].append(left.flatten(0, 1))

    @staticmethod
    def _keep(branch: _Branch, key: Range, state: Tensor, left: Tensor) -> None:
        branch.states[key].append(state.flatten(0, 1))
        branch.outputs[key].append(left.flatten(0, 1))

    def end_run(self) -> None:
        """It went to its end; branches that were not there at every evaluation are left out."""
        if not self._kept:
            self.blocks, self.sigmas, self.places = self._names, self._sigmas, self._places
        if self._sigmas != self.sigmas or self._names != self.blocks:
            self.notes.append("A run took other steps than the first one and was not used.")
            return
        stack = 0, len(self._names) - 1
        whole = {key: branch for key, branch in self._now.items() if branch.has(stack, len(self._sigmas))}
        if whole:
            self._kept.append((len(self._kept), whole))

    @property
    def is_empty(self) -> bool:
        """Whether no run was recorded so far."""
        return not self._kept

    def samples(self) -> Samples | None:
        """Hands over everything that was recorded; None where nothing was."""
        recorded, self._kept = self._kept, []
        if not recorded:
            return None
        branches = [(run, branch) for run, found in recorded for branch in found.values()]
        states, residuals, runs = {}, {}, {}
        width = branches[0][1].states[0, len(self.blocks) - 1][0].shape[-1]
        for key in dict.fromkeys(key for _, branch in branches for key in branch.states):
            whole = [(run, branch) for run, branch in branches if branch.has(key, len(self.sigmas))]
            if not whole or whole[0][1].states[key][0].shape[-1] != width:
                continue
            runs[key] = torch.cat([torch.full((len(branch.states[key][0]),), run) for run, branch in whole])
            # What is handed over is let go of, so that it is not held twice.
            states[key] = torch.cat([torch.stack(branch.states.pop(key)) for _, branch in whole], dim=1).float()
            outputs = torch.cat([torch.stack(branch.outputs.pop(key)) for _, branch in whole], dim=1).float()
            residuals[key] = outputs.sub_(states[key])
        of_ranks = zip(*self._ranks.gathered((states, residuals, runs)), strict=True)
        states, residuals, runs = (joined(parts, dim) for parts, dim in zip(of_ranks, (1, 1, 0), strict=True))
        return Samples(self.blocks, self.sigmas, self.places, states, residuals, runs)

    def _choose(self, call: BlockCall, branches: int) -> tuple[Tensor, int]:
        """Tokens of one sample to follow through this run, and how many of them through every single block."""
        rows, tokens, width = call.tokens.shape
        sequences = self.runs * BRANCHES * max(1, rows // branches) * self._ranks.size
        share = self.budget / 2 / sequences
        evaluations = len(self.sigmas) or self._steps  # some samplers make several a step, as the first run tells
        each = 2 * evaluations * width * BYTES  # of a token, for one range of blocks
        many = max(1, min(tokens, int(share / each), MOST_TOKENS // sequences))
        few = self._few(share / (each * max(1, len(self._names))), many, sequences)
        generator = torch.Generator().manual_seed(len(self._kept))
        return torch.randperm(tokens, generator=generator)[:many], few

    def _followed(self, block: int) -> Tensor:
        """The tokens that are recorded at this block: all that were chosen at the ends, fewer between."""
        tokens, few = self._chosen
        return tokens if block in (0, len(self._names) - 1) else tokens[:few]

    def _few(self, share: float, many: int, sequences: int) -> int:
        """How many of a sample's tokens to follow through single blocks: its share, or one in some runs only."""
        if share * sequences < LEAST_TOKENS:
            return 0
        every = math.ceil(1 / share)
        return min(many, int(share)) if every == 1 else int(len(self._kept) % every == every - 1)

    @staticmethod
    def _of(h: Tensor, tokens: Tensor) -> Tensor:
        return h[:, tokens.to(h.device)].detach().cpu()
