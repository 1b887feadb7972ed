"""The loop: for every block call compute it, predict it, or compute some of its tokens and predict the others.

    hidden h  ->  decide  ->  COMPUTE:  y = block(h),         remember r = y - h
                              PREDICT:  y = h + r(sigma)
                              PARTIAL:  y = h + r(sigma), y[active] = block(h[active] | keys and values of all tokens)

`block cache` chooses blocks, `token selector` chooses tokens; other methods are other rules (policies.py) and
predictors (predictors.py) for this same loop. Decisions are one per evaluation (decisions.py); residuals are kept per
branch (conditioning), so that a batch may be cut into branches differently from one evaluation to the next. A *site* is
what is predicted at once: one block, or a list of blocks, whose first block then returns the prediction and whose
others pass it on. That is right only if nobody adds to the state between blocks, which is watched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from .calls import Attending, BlockCall, Streams, Watch
from .config import FastCacheConfig
from .decisions import Decider, Decision, Evaluation, Measurement
from .predictors import History
from .report import Report
from .signals import norm
from .state import Branch, KeysValues, RunState
from .tokens import gather_tokens, scatter_tokens


class Action(Enum):
    COMPUTE, PREDICT, PARTIAL = "compute", "predict", "partial"


@dataclass(frozen=True)
class Site:
    """Blocks first..last, predicted at once."""

    first: int
    last: int


class Run:
    """State and decisions of one sampling run.

    config: the settings. blocks: names of all blocks in order. lists: (first, last) of each list of like blocks.
    sigmas: the sampler's schedule. sigma_window: (high, low), outside of which everything is computed. cache_device:
    where residuals are kept, None for where they are computed. separate: why blocks must not be predicted as a stack
    (something is added between them), or None.
    """

    def __init__(
        self,
        config: FastCacheConfig,
        blocks: Sequence[str],
        lists: Sequence[tuple[int, int]],
        sigmas: Sequence[float],
        sigma_window: tuple[float, float] = (float("inf"), 0.0),
        cache_device: torch.device | None = None,
        separate: str | None = None,
    ):
        self.config, self.cache_device = config, cache_device
        self.separate, self.lists = separate, lists
        self.decider = Decider(config, sigmas, sigma_window)
        self.report = Report(list(blocks))
        self.report.run = {"level": self.level, "predictor": self.predictor, **config.describe()}
        self.state = RunState()
        self.sites = self._sites()
        self._watch = Watch()
        self._evaluation: Evaluation | None = None
        self._branches: list[Branch] = []
        self._view: Hashable = None
        self._several_views = False
        self._entered: Site | None = None
        self._predictable = False
        self._pending: Streams = {}
        self._computing = 0.0

    @property
    def level(self) -> str:
        """`block` or `stack`, what `auto` stands for with these settings."""
        wanted = self.config.block_cache.level
        return "block" if self.decider.selecting or self.separate else "stack" if wanted == "auto" else wanted

    @property
    def predictor(self) -> str:
        wanted = self.config.block_cache.predictor
        return "extrapolate" if wanted == "auto" else wanted

    def _sites(self) -> dict[int, Site]:
        if self.level == "block":
            return {i: Site(i, i) for i in range(len(self.report.blocks))}
        return {i: Site(first, last) for first, last in self.lists for i in range(first, last + 1)}

    # The host calls these, from the outside in.

    def begin_evaluation(self, sigma: float | Tensor) -> None:
        """A scalar tensor is read with this evaluation's other measurements, in one synchronisation."""
        self._evaluation = Evaluation(len(self.report.evaluations), sigma)
        self.report.begin()

    def begin_call(self, branches: Sequence[Hashable], views: Sequence[Hashable] = ()) -> None:
        """A model call starts: the branches its batch is made of, in equal parts, and the view of each.

        No branches: the call is none of ours, and its blocks are run as they are.
        """
        self._branches = [self.state.branch(key) for key in branches]
        self._several_views = len(set(views)) > 1
        self._view = tuple(views) if self._several_views else next(iter(views), None)
        self._entered, self._pending = None, {}
        self._watch = Watch()

    def end_evaluation(self) -> None:
        self.report.cache_bytes_peak = max(self.report.cache_bytes_peak, self.state.nbytes + self.decider.nbytes)
        self._evaluation = None

    def _separate_blocks(self, why: str) -> None:
        """Predict every block by itself from here on: a stack's residual would add twice what is added in between."""
        self.separate = why
        self.sites = self._sites()
        for branch in self.state.branches.values():
            branch.histories.clear()
        self.report.run["level"] = self.level
        self.report.note(f"Blocks are predicted one by one: {why}.")

    def run_block(self, call: BlockCall) -> Streams:
        """The loop's body: streams in, streams of the same shapes out."""
        if self._evaluation is None or not self._branches:
            return call.compute(call.streams, None)  # somebody runs the model outside of sampling
        if any(h.requires_grad for h in call.streams.values()):
            self.report.note("Gradients are recorded, so blocks are left alone.")
            return call.compute(call.streams, None)
        begun, elsewhere = time.perf_counter(), self._computing + self.decider.waited
        self._watch_for_additions(call)
        decision = self._decide(call)
        action, reason = self._action(call, decision)
        step = {Action.COMPUTE: self._compute, Action.PREDICT: self._predict, Action.PARTIAL: self._partial}[action]
        streams = step(call, decision)
        self._record(call, decision, action, reason)
        if self.level == "stack" and action is Action.COMPUTE:
            self._watch.leaving(call.index, streams)
        elsewhere = self._computing + self.decider.waited - elsewhere
        self.report.seconds_overhead += time.perf_counter() - begun - elsewhere
        return streams

    # Deciding.

    def _decide(self, call: BlockCall) -> Decision:
        if self.decider.selecting and call.no_tokens:
            self.report.note(f"Tokens are not selected: {call.no_tokens}.")
        decision = self.decider.decide(self._evaluation, self._view, self._lead(call), call.no_tokens is None)
        self._report_errors()
        self.report.evaluations[-1].sigma = self._evaluation.sigma
        if self.decider.alarmed and self.level == "stack":
            self._separate_blocks("something adds to the hidden state between blocks")
        return decision

    def _lead(self, call: BlockCall) -> Tensor:
        """Branches with one view are alike at the entry, so one speaks for all; else the largest change counts."""
        h = call.tokens
        return h if self._several_views else h[: len(h) // len(self._branches)]

    def _watch_for_additions(self, call: BlockCall) -> None:
        if call.index == self.sites[call.index].first:
            self._watch = Watch()  # lists are joined by cutting and concatenating streams
            return
        alarm = self._watch.entering(call.index, call.streams)
        if alarm is not None:
            self.decider.alarms.append(alarm)

    def _action(self, call: BlockCall, decision: Decision) -> tuple[Action, str]:
        """The decision, unless this call's branches have nothing that fits to predict from: then compute."""
        site = self.sites[call.index]
        if call.index == site.first:
            self._entered = site
            self._predictable = all(self._fits(branch, site, call, decision) for branch in self._branches)
        if not decision.predict and decision.active is None:
            return Action.COMPUTE, decision.reason
        if self._entered != site:
            return Action.COMPUTE, "computed: another patch took the place of blocks before it"
        if not self._predictable:
            return Action.COMPUTE, "computed: this conditioning is new, was left out before, or changed its size"
        if decision.predict:
            return Action.PREDICT, decision.reason
        if call.no_tokens:
            return Action.COMPUTE, f"computed: {call.no_tokens}"
        if any(call.index not in branch.keys_values for branch in self._branches):
            self.report.note("Tokens are not selected: this model's attention does not let keys and values be kept.")
            return Action.COMPUTE, "computed: keys and values of static tokens are not available"
        return Action.PARTIAL, "partial: only tokens whose change exceeds token_threshold"

    def _fits(self, branch: Branch, site: Site, call: BlockCall, decision: Decision) -> bool:
        """Whether a branch has residuals of the right shape, no older than the decision's anchor."""
        if branch.computed_at < decision.anchor:
            return False
        n = len(self._branches)
        histories = {name: branch.histories.get((site.first, name)) for name in call.streams}
        return all(kept is not None and kept.fits(call.streams[name].chunk(n)[0]) for name, kept in histories.items())

    # Doing.

    def _timed(self, call: BlockCall, streams: Streams, attending: Attending | None) -> Streams:
        begun = time.perf_counter()
        streams = call.compute(streams, attending)
        self._computing += time.perf_counter() - begun
        return streams

    def _compute(self, call: BlockCall, decision: Decision) -> Streams:
        site = self.sites[call.index]
        if call.index == site.first:
            # Blocks may write into their input, so what the residual needs of it is taken before they run.
            self._pending = {name: h.neg() for name, h in call.streams.items()}
        selecting = self.decider.selecting and call.no_tokens is None
        attending = Attending(None, keep=self._keeper(call.index)) if selecting else None
        streams = self._timed(call, call.streams, attending)
        if call.index == site.last and self._entered == site:
            residuals = self._residuals(self._pending, streams)
            self._pending = {}
            self._measure(site, call, decision, residuals)
            self._remember(site, residuals)
        return streams

    @staticmethod
    def _residuals(negated: Streams, streams: Streams) -> Streams:
        """What was added to each stream, in the negated inputs' place; a stream whose size changed has none."""
        same = {name: h for name, h in negated.items() if name in streams and h.shape == streams[name].shape}
        return {name: h.add_(streams[name]) for name, h in same.items()}

    def _measure(self, site: Site, call: BlockCall, decision: Decision, residuals: Streams) -> None:
        """Note by how much the image tokens' prediction would have been off."""
        name = call.image[0]
        if decision.change is None or name not in residuals:
            return
        kept = [branch.histories.get((site.first, name)) for branch in self._branches]
        pairs = list(zip(kept, residuals[name].chunk(len(kept)), strict=True))
        if not all(history is not None and history.fits(residual) for history, residual in pairs):
            return
        off = [history.expected(self._evaluation.sigma).to(r.device) - r for history, r in pairs]
        error, size = (torch.stack([norm(part) for part in parts]).sum() for parts in (off, [r for _, r in pairs]))
        view = self.decider.key(self._view, self._lead(call))
        measurement = Measurement(self._evaluation.index, site.first, view, decision.change, error, size)
        self.decider.measurements.append(measurement)

    def _remember(self, site: Site, residuals: Streams) -> None:
        for name, whole in residuals.items():
            parts = whole.chunk(len(self._branches))
            for branch, residual in zip(self._branches, parts, strict=True):
                branch.computed_at, key = self._evaluation.index, (site.first, name)
                kept = branch.histories.get(key)
                if kept is not None and kept.fits(residual):
                    kept.remember(residual, self._evaluation.sigma)
                else:
                    damping = 0.0 if self.predictor == "reuse" else self.config.block_cache.damping
                    branch.histories[key] = History(residual, self._evaluation.sigma, damping, self.cache_device)

    def _predict(self, call: BlockCall, decision: Decision) -> Streams:
        site = self.sites[call.index]
        if call.index != site.first:
            return call.streams
        return {name: self._predicted(site, name, h) for name, h in call.streams.items()}

    def _predicted(self, site: Site, name: str, h: Tensor) -> Tensor:
        y = torch.empty_like(h)
        n = len(self._branches)
        for branch, part, out in zip(self._branches, h.chunk(n), y.chunk(n), strict=True):
            branch.histories[site.first, name].predict(part, self._evaluation.sigma, out)
        return y

    def _partial(self, call: BlockCall, decision: Decision) -> Streams:
        site, (image, span) = self.sites[call.index], call.image
        active = decision.active.repeat(len(call.streams[image]) // len(decision.active), 1)
        rows = span.rows(active)
        inputs = {name: gather_tokens(h, rows) if name == image else h for name, h in call.streams.items()}
        negated = {name: h.neg() for name, h in inputs.items()}
        whole = self._predicted(site, image, call.streams[image])
        sequence = call.sequence.rows(active)
        outputs = self._timed(call, inputs, Attending(sequence, serve=self._server(call.index, sequence)))
        scatter_tokens(whole, rows, outputs[image])
        residuals = self._residuals(negated, outputs)
        self._remember_rows(site, image, rows, residuals.pop(image))
        self._remember(site, residuals)
        return {**outputs, image: whole}

    def _remember_rows(self, site: Site, name: str, rows: Tensor, residual: Tensor) -> None:
        n = len(self._branches)
        for branch, r, part in zip(self._branches, rows.chunk(n), residual.chunk(n), strict=True):
            branch.histories[site.first, name].remember_rows(r, part, self._evaluation.sigma)

    def _keeper(self, index: int) -> Callable[[Tensor, Tensor], None]:
        def keep(keys: Tensor, values: Tensor) -> None:
            n = len(self._branches)
            for branch, k, v in zip(self._branches, keys.chunk(n), values.chunk(n), strict=True):
                branch.keys_values[index] = KeysValues(k, v, self.cache_device)

        return keep

    def _server(self, index: int, rows: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        def serve(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            n = len(self._branches)
            kept = [branch.keys_values[index] for branch in self._branches]
            for table, r, k, v in zip(kept, rows.chunk(n), keys.chunk(n), values.chunk(n), strict=True):
                table.write_rows(r, k, v)
            # A copy even of a single one: attention of other packs may write into what it gets.
            whole = [torch.cat([getattr(table, name) for table in kept]) for name in ("keys", "values")]
            return whole[0].to(keys.device), whole[1].to(values.device)

        return serve

    # Reporting.

    def finish(self) -> None:
        """The run is over; read what is still on the device."""
        self.decider.finish()
        self._report_errors()

    def _report_errors(self) -> None:
        for evaluation, first, error in self.decider.realised:
            for block in range(first, self.sites[first].last + 1):
                self.report.evaluations[evaluation].error[block] = error
        self.decider.realised = []

    def _record(self, call: BlockCall, decision: Decision, action: Action, reason: str) -> None:
        rows, tokens, width = call.tokens.shape
        length = call.sequence.length
        if action is Action.PREDICT:
            chosen, queries = 0, 0
        else:
            chosen = tokens if action is Action.COMPUTE else decision.active.shape[1]
            queries = chosen + length - tokens
        # Per query token: 24 width^2 for projections and MLP (ratio 4), 4 * length * width for attention.
        per_query = rows * (24 * width**2 + 4 * length * width)
        self.report.explain(call.index, reason, decision.change, decision.error)
        self.report.count(call.index, chosen / tokens, rows, per_query * queries, per_query * length)
        if action is not Action.PREDICT:
            samples = rows // len(self._branches)
            self.report.mark_tokens((samples, tokens), decision.mask if action is Action.PARTIAL else None)
