"""The loop: for every block call compute it, predict it, or compute some of its tokens and predict the others.

    hidden h  ->  decide  ->  COMPUTE:  y = block(h),         remember r = y - h
                              PREDICT:  y = h + r(sigma)
                              PARTIAL:  y = h + r(sigma), y[active] = block(h[active] | keys and values of all tokens)

`block cache` chooses blocks, `token selector` chooses tokens; other methods are other rules (policies.py) and
predictors (predictors.py) for this same loop. Decisions are one per evaluation (decisions.py); residuals are kept per
branch (conditioning), so that a batch may be cut into branches differently from one evaluation to the next. A *site*
(sites.py) is what is predicted at once: one block or several, whose first block then returns the prediction and whose
others pass it on. That is right only if nobody adds to the state between blocks, which is watched.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch
import torch.distributed as dist
from torch import Tensor

from .calibration.part_recorder import PartRecorder
from .calibration.recorder import Recorder
from .calls import SEQUENCE, STREAM, Attending, BlockCall, OurError, Streams
from .config import FastCacheConfig
from .corrector import Corrector
from .decisions import Decider, Decision, Entered, Evaluation, Measurement, SiteDecision
from .defaults import Defaults, by_rule
from .masks import mask_of, what_is_missing
from .memory import IMAGE, Memory
from .path import AlongSigma, NoisePath
from .predictors import Offset, bounded
from .profile import Profile
from .ranks import ranks_of
from .report import Report
from .response import Response, weights
from .safety import Safety
from .sites import Cut, Site, level_of, spans
from .state import Branch, RunState
from .tokens import gather_tokens, once, scatter_tokens

log = logging.getLogger(__name__)
MOST_OUT_OF_MEMORY = 3  # times that what is kept is let go of, before a run is given up


class Computing:
    """A block's `compute`, watched: what it returned, and whether it was the model that failed."""

    def __init__(self, compute: Callable[[Streams, Attending | None], Streams]):
        self._compute = compute
        self.whole: Streams | None = None  # what came out, where all tokens went in
        self.failed: Exception | None = None

    def __call__(self, streams: Streams, attending: Attending | None) -> Streams:
        try:
            out = self._compute(streams, None if attending is None else guarded(attending))
        except Exception as error:
            self.failed = error
            raise
        if attending is None or attending.rows is None:
            self.whole = out
        return out


def guarded(attending: Attending) -> Attending:
    """The same, whose functions raise OurError where they fail."""

    def guard(function: Callable | None) -> Callable | None:
        def called(*args: object) -> object:
            try:
                return function(*args)
            except Exception as error:
                raise OurError(str(error)) from error

        return function and called

    return dataclasses.replace(
        attending, keep=guard(attending.keep), serve=guard(attending.serve), place=guard(attending.place)
    )


def failing_open(method: Callable) -> Callable:
    """A method of a run that may cost speed but never the picture: what goes wrong in it ends FastCache for the run."""

    @functools.wraps(method)
    def guard(self: Run, *args: object, **kwargs: object) -> object:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.give_up(error)
            return None

    return guard


class Action(Enum):
    COMPUTE, PREDICT, PARTIAL = "compute", "predict", "partial"


MADE_FOR = ("sampler", "scheduler", "steps")  # what a profile's schedule is for, as far as the profile says so
PROBED = SiteDecision(False, "computed: the first block is, at every evaluation")
UNKNOWN = SiteDecision(False, "computed: nothing is remembered of it yet")


@dataclass
class Turn:
    """All blocks of the model, coming once.

    keys: of the branches that the batch is made of; branches: what is kept of each. view: the part of the picture that
    they see; several_views: whether they see more than one. reached: the blocks so far. entered: the site whose first
    block came last; predictable: whether its branches have something that fits to predict it from; acts: what is done
    with it, and why; entries: what its residuals need of its input. passing: blocks that were predicted with the one
    before them. looked_at, probed: the first block's work and how much it changed, where a rule looks at that.
    """

    keys: Sequence[Hashable] = ()
    branches: Sequence[Branch] = ()
    view: Hashable = None
    several_views: bool = False
    reached: set[int] = field(default_factory=set)
    entered: Site | None = None
    predictable: bool = False
    acts: tuple[Action, str] = (Action.COMPUTE, "")
    entries: Streams = field(default_factory=dict)
    passing: range = range(0)
    looked_at: Tensor | None = None
    probed: Tensor | None = None


class Run:
    """State and decisions of one sampling run.

    config: the settings. blocks: names of all blocks in order. lists: (first, last) of each list of like blocks.
    sigmas: the sampler's schedule. sigma_window: (high, low), outside of which everything is computed. cache_device:
    where residuals are kept, None for where they are computed. memory_budget: says how many bytes may be kept, asked
    once. separate: why blocks must not be predicted together (something is added between them), or None. profile: what
    calibration learned. joined: whether a list's image tokens are those that leave the list before it, and the head
    follows the last; else lists are predicted apart. defaults: what stands for settings that are left open. recorder:
    what remembers computed blocks for calibration. group: of the processes that sample this image together, each with
    a part of its tokens (ranks.py), or None. path: where latents lie between picture and noise (path.py).
    """

    def __init__(
        self,
        config: FastCacheConfig,
        blocks: Sequence[str],
        lists: Sequence[tuple[int, int]],
        sigmas: Sequence[float],
        sigma_window: tuple[float, float] = (float("inf"), 0.0),
        cache_device: torch.device | None = None,
        memory_budget: Callable[[], float] | None = None,
        separate: str | None = None,
        profile: Profile | None = None,
        joined: bool = True,
        defaults: Defaults | None = None,
        recorder: Recorder | PartRecorder | None = None,
        group: dist.ProcessGroup | None = None,
        path: NoisePath | None = None,
    ):
        self.path = path = path or AlongSigma()
        defaults = defaults or by_rule(len(blocks), tokens=0)
        mask, curves = mask_of(config.block_cache, profile, blocks), profile and profile.curves
        self.cut = Cut(lists, level_of(config, separate, mask), config.block_cache.probes, joined)
        self.config = config = config.completed(
            defaults, [path.fraction(sigma) for sigma in sigmas] if len(self.cut.predictable) == 1 else ()
        )
        self.memory = Memory(config, self.cut, cache_device, profile)
        self.profile = profile
        self.ranks = ranks_of(group)
        self.decider = Decider(config, self.cut, blocks, sigmas, sigma_window, mask, curves, self.ranks, path)
        self.corrector: Corrector | None = None  # once it is known how the sampler answers
        self.velocity = True  # whether the velocity is what is predicted of a whole model, or else the denoised image
        self.state = RunState()
        self.report = Report(list(blocks))
        self._open_report(defaults)
        self.safety = Safety(self, memory_budget, separate)
        self._evaluation: Evaluation | None = None
        self._predicts: dict[Hashable, bool] = {}  # of every view in this evaluation, whether everything was
        self._called: tuple[list[Hashable], list[Hashable], Hashable] = ([], [], None)
        self._kinds: Sequence[str] = ()
        self._turn, self._turns = Turn(), 0
        self._some_rest = False  # from when on keys and values are kept
        self._selectable = set[int]()  # blocks that can compute some of their tokens
        self._computing = 0.0
        self.stopped: Exception | None = None  # an error of ours, since which everything is computed
        self._out_of_memory = 0
        self.observer: Callable[[int, Report], None] | None = None
        self.recorder = recorder
        if recorder is not None:
            parts = [span for each in lists for span in spans(*each)]
            recorder.begin_run(blocks, len(self.decider.schedule), parts, joined, self.ranks)

    # The host calls these, from the outside in.

    @failing_open
    def begin_evaluation(self, sigma: float | Tensor) -> None:
        """A scalar tensor is read with this evaluation's other measurements, in one synchronisation."""
        self._evaluation, self._predicts = Evaluation(len(self.report.evaluations), sigma), {}
        self.report.begin()

    @failing_open
    def begin_call(
        self,
        branches: Sequence[Hashable],
        views: Sequence[Hashable] = (),
        kinds: Sequence[str] = (),
        mode: Hashable = None,
    ) -> None:
        """A model call starts: the branches its batch is made of, in equal parts, the view of each, and its name.

        mode: what else is done to the call, such as a control; what was kept of a branch in another mode is forgotten.
        No branches: the call is none of ours, and its blocks are run as they are.
        """
        self._called, self._turns, self._kinds = (list(branches), list(views), mode), 0, kinds
        self.report.branches.update(kinds)
        if not branches:
            self.correct_nothing("blocks are run past the engine")
        self.begin_turn()

    @failing_open
    def know_sampler(self, response: Response) -> None:
        """How the sampler answers, told before the first evaluation.

        A sampler that adds noise at every step makes it a part of the velocity, which nobody can foresee then; the
        denoised image can be.
        """
        self.velocity = not response.noisy
        if response.remembers:
            self.decider.shorten_rows()
            self.report.run |= self.decider.config.describe()
        last = self.decider.last_sigma
        self.decider.know_sampler(response, weights(response, self.path, last, self.velocity))
        if self.config.block_cache.corrector and not response.unguided:
            self.corrector = Corrector(response, self.path, self.velocity)
            self.decider.ending = 2

    @failing_open
    def correct_nothing(self, why: str) -> None:
        """From now on: blocks are run past us, whose results may be what the sampler gets."""
        if self.corrector is not None:
            self.corrector.switch_off(why)
            self.decider.ending = 1

    @failing_open
    def compute_all(self, why: str) -> None:
        """Compute this evaluation, for this reason, as far as nothing was decided about it yet."""
        self._evaluation.forced = why

    @failing_open
    def begin_turn(self) -> None:
        """All blocks come; in models that cut a long sound into windows, once for each within one call.

        Every turn is a branch of its own, as it sees something else.
        """
        branches, views, mode = self._called
        keys, several = [(key, self._turns) for key in branches], len(set(views)) > 1
        view = (tuple(views) if several else next(iter(views), None), self._turns)
        self._turn = Turn(keys, [self.state.branch(key) for key in keys], view, several)
        for branch in self._turn.branches:
            branch.enter(mode)
        self._turns += 1
        self.safety.begin_call()

    def give_up(self, error: Exception) -> None:
        """Something of ours failed: the run goes on without FastCache, which costs speed and not the picture.

        Where memory ran out, letting go of what is kept may be enough.
        """
        if isinstance(error, torch.OutOfMemoryError) and self._out_of_memory < MOST_OUT_OF_MEMORY:
            self._out_of_memory += 1
            self.report.note("The memory ran out while FastCache remembered; it let go of what it kept, and went on.")
        elif self.stopped is None:
            self.stopped = error
            log.error("FastCache: an error of its own. The run goes on without it.", exc_info=error)
            why = f"an error of its own ({type(error).__name__}: {error})"
            self.report.note(f"FastCache stopped: {why}. The rest of the run was computed as without it.")
            self.report.failed = True
            self.safety.off = self.safety.off or f"FastCache stopped after {why}"
        self.state.clear()
        self.decider.let_go()
        self._turn.predictable, self._turn.entries = False, {}
        if self.corrector is not None:
            self.corrector.let_go()

    def corrected(self, x: Tensor, denoised: Tensor, guidance: Hashable = None) -> Tensor:
        """What the sampler is to be given for this evaluation, of latents x [samples, channels, ...].

        guidance: what else made the denoised image, such as a scale or passes; it changes with a jump where that does.
        """
        try:
            return self._corrected(x, denoised, guidance)
        except Exception as error:
            self.give_up(error)
            return denoised

    def _corrected(self, x: Tensor, denoised: Tensor, guidance: Hashable) -> Tensor:
        if self.corrector is None or self.safety.off or isinstance(self.sigma, Tensor):
            return denoised
        # Where some blocks, or a part of the picture as a whole, were computed, interpolation knows no better.
        predicted = bool(self._predicts) and all(self._predicts.values())
        corrected = self.corrector.correct(x, self.sigma, denoised, predicted, guidance)
        if self.corrector.off is not None:
            self.decider.ending = 1
        return corrected

    @failing_open
    def end_evaluation(self) -> None:
        kept = self.state.nbytes + self.decider.nbytes + (self.corrector.nbytes if self.corrector else 0)
        self.report.cache_bytes_peak = max(self.report.cache_bytes_peak, kept)
        self._evaluation, self._turn = None, Turn()
        if self.observer:
            self.observer(len(self.report.evaluations) - 1, self.report)

    @failing_open
    def finish(self) -> None:
        """The run is over; read what is still on the device."""
        self.decider.finish()
        self._report_errors()
        self.report.run["corrections"] = self.corrector.corrections if self.corrector else 0
        if self.recorder is not None:
            self.recorder.end_run()

    def free(self) -> None:
        """Let go of everything that was kept; only the report stays."""
        self.state.branches.clear()
        self.corrector = None
        self.decider.let_go()
        self._turn = Turn()

    @property
    def sigma(self) -> float | Tensor:
        """Of the present evaluation; a number once a decision was taken."""
        return self._evaluation.sigma

    @property
    def place(self) -> float:
        """Along what residuals are carried, of the present evaluation, once its sigma was read."""
        sigma = float(self._evaluation.sigma)
        return sigma if self.config.block_cache.along == "sigma" else self.path.place(sigma)

    def passes(self, index: int) -> bool:
        """Whether this block was predicted together with the one before: its input is its output."""
        return index in self._turn.passing

    def comes_again(self, index: int) -> bool:
        """Whether this block was computed or predicted before in the same call of the model."""
        return index in self._turn.reached

    def run_block(self, call: BlockCall) -> Streams:
        """The loop's body: streams in, streams of the same shapes out. Only what the block itself raises is raised."""
        computing = Computing(call.compute)
        try:
            return self._run_block(dataclasses.replace(call, compute=computing))
        except Exception as error:
            if error is computing.failed and not isinstance(error, OurError):
                raise
            self.give_up(error)
            return call.compute(call.streams, None) if computing.whole is None else computing.whole

    def _run_block(self, call: BlockCall) -> Streams:
        if self._evaluation is None or not self._turn.branches or not call.tokens.numel():
            return call.compute(call.streams, None)  # somebody runs the model outside of sampling
        if self.passes(call.index):
            return call.streams
        if self._records_gradients(call.streams):
            return call.compute(call.streams, None)
        if self.comes_again(call.index):
            self.begin_turn()
        elif self._interrupted(call.index):
            self.safety.heed_order(call, self._turn.branches)
        self._turn.reached.add(call.index)
        begun, before = time.perf_counter(), self._computing + self.decider.waited
        if self._turn.entered is None:
            self.safety.respect_budget(call, self._turn.branches)
        self.safety.entering(call)
        decision = self._decide(call)
        site = self.cut.at[call.index]
        decided = decision.sites.get(site, UNKNOWN)
        action, reason = self._action(site, call, decision, decided)
        wholly = action is Action.PREDICT and all(each.predict for each in decision.sites.values())
        self._predicts[self._turn.view] = self._predicts.get(self._turn.view, False) or wholly
        step = {Action.COMPUTE: self._compute, Action.PREDICT: self._predict, Action.PARTIAL: self._partial}[action]
        recording = self.recorder is not None and action is Action.COMPUTE
        if recording:
            self.recorder.entering(call, len(self._turn.branches))
        streams = step(site, call, decision, decided)
        if recording:
            self.recorder.leaving(
                call, streams, self._turn.keys, self._evaluation.index, self._evaluation.sigma, self.place
            )
        self._record(site, call, decision, decided._replace(reason=reason), action)
        if action is Action.COMPUTE:
            self.safety.leaving(call, streams)
        elsewhere = self._computing + self.decider.waited - before
        self.report.seconds_overhead += time.perf_counter() - begun - elsewhere
        return streams

    def _interrupted(self, index: int) -> bool:
        """Whether blocks of another site came between this block's site's first and itself."""
        site = self.cut.at[index]
        return site.first in self._turn.reached and index != site.first and self._turn.entered != site

    def _records_gradients(self, streams: Streams) -> bool:
        recorded = torch.is_grad_enabled() and any(h.requires_grad for h in streams.values())
        if recorded:
            self.report.note("Gradients are recorded, so blocks are left alone.")
        return recorded

    # Deciding.

    def _decide(self, call: BlockCall) -> Decision:
        """The evaluation's decision for this view, which is taken when it is first asked for."""
        if self.cut.probe and call.index == 0:
            return Decision({self.cut.sites[0]: PROBED})
        if self.safety.off:
            return self._everything_computed()
        lead = self._lead(call)
        taken = self._evaluation.decisions.get(self.decider.key(self._turn.view, lead))
        return self._decide_now(call, lead) if taken is None else taken

    def _decide_now(self, call: BlockCall, lead: Tensor) -> Decision:
        """Read what was measured, which may make the run step back, and take the decision."""
        entered = self.decider.read(self._evaluation, self._turn.view, lead, self._turn.probed, self._may_select(call),
                                    self._turn.looked_at, call.image[1].references)  # fmt: skip
        self.report.evaluations[-1].sigma = self._evaluation.sigma
        self._report_errors()
        self.safety.heed()
        self.safety.respect_budget(call, self._turn.branches)
        if self.safety.off:
            return self._everything_computed()
        self._some_rest = self._some_rest or entered.some_rest
        if not self.decider.selecting:
            entered = entered._replace(mask=None)
        decision = self.decider.decide(self._evaluation, self._turn.view, lead, entered)
        self._report_decision(self.decider.key(self._turn.view, lead), entered, decision)
        return decision

    def _everything_computed(self) -> Decision:
        self._evaluation.sigma = float(self._evaluation.sigma)
        self.report.evaluations[-1].sigma = self._evaluation.sigma
        why = f"computed: {self.safety.off}"
        decision = Decision(dict.fromkeys(self.cut.sites, SiteDecision(False, why)), forced=why)
        if self.report.evaluations[-1].thresholds is None:
            self._report_decision(None, None, decision)
        return decision

    def _lead(self, call: BlockCall) -> Tensor:
        """Branches with one view are alike at the entry, so one speaks for all; else the largest change counts."""
        h = call.tokens if call.seen is None else call.seen
        return h if self._turn.several_views else h[: len(h) // len(self._turn.branches)]

    def _may_select(self, call: BlockCall) -> bool:
        """Whether tokens may be selected; a note says why not, when they were to be."""
        if not self.decider.selecting:
            return False
        why = call.no_tokens
        if self.cut.probe or self.cut.level == "model_output":
            where = f"the rule {self.config.block_cache.rule}" if self.cut.probe else "the level model_output"
            why = f"{where} decides about all of them at once"
        if why:
            self.report.note(f"Tokens are not selected: {why}.")
        return why is None

    def _action(self, site: Site, call: BlockCall, decision: Decision, decided: SiteDecision) -> tuple[Action, str]:
        """What is done with a whole site is settled when its first block is reached."""
        if call.index == site.first:
            self._turn.entered = site
            streams = self.memory.kept(site, call, call.streams)
            self._turn.predictable = self.memory.fits(self._turn.branches, site, streams, decided.anchor)
            self._turn.acts = self._settled(site, call, decision, decided)
        if self._turn.entered == site:
            return self._turn.acts
        if decided.predict or decision.active is not None:
            return Action.COMPUTE, "computed: another patch took the place of blocks before it"
        return Action.COMPUTE, decided.reason

    def _settled(self, site: Site, call: BlockCall, decision: Decision, decided: SiteDecision) -> tuple[Action, str]:
        """The decision, unless this call's branches have nothing that fits to predict from: then compute."""
        if not decided.predict and decision.active is None:
            return Action.COMPUTE, decided.reason
        if not self._turn.predictable:
            return Action.COMPUTE, "computed: this conditioning is new, was left out before, or changed"
        if decided.predict:
            return Action.PREDICT, decided.reason
        if call.no_tokens:
            return Action.COMPUTE, f"computed: {call.no_tokens}"
        if not (self._selectable.issuperset(site.blocks) and self.memory.keeps(self._turn.branches, call)):
            return Action.COMPUTE, "computed: keys and values of static tokens are not available"
        if decision.resting and decision.active.shape[1] == call.tokens.shape[1]:
            return Action.PARTIAL, "partial: tokens of reference pictures rest until refresh_interval"
        return Action.PARTIAL, "partial: only tokens whose change exceeds token_threshold"

    # Doing.

    def _timed(self, call: BlockCall, streams: Streams, attending: Attending | None) -> Streams:
        begun = time.perf_counter()
        streams = call.compute(streams, attending)
        self._computing += time.perf_counter() - begun
        return streams

    def _compute(self, site: Site, call: BlockCall, decision: Decision, decided: SiteDecision) -> Streams:
        if self.safety.off:
            return self._timed(call, call.streams, None)
        if call.index == site.first:
            # Blocks may write into their input, so what the residual needs of it is taken before they run.
            self._turn.entries = {name: h.clone() for name, h in self.memory.kept(site, call, call.streams).items()}
        selecting, keeper = self._some_rest and self._may_select(call), None
        if selecting and self.memory.serves:
            keeper = Attending(None, keep=self.memory.keeper(self._turn.branches, call.index, self.place))
        streams = self._timed(call, call.streams, keeper)
        self._heed_selectable(call, selecting)
        if site.last in call.blocks and self._turn.entered == site and not self._records_gradients(streams):
            self._learn(site, call, decided, self.memory.kept(site, call, streams))
        return streams

    def _heed_selectable(self, call: BlockCall, selecting: bool) -> None:
        """A block was computed: when it comes next, can some of its tokens be?"""
        kept = selecting and self.memory.keeps(self._turn.branches, call)
        if selecting and not kept:
            self.report.note("Tokens are not selected: this model's attention does not let keys and values be kept.")
        (self._selectable.update if kept else self._selectable.difference_update)(call.blocks)

    def _learn(self, site: Site, call: BlockCall, decided: SiteDecision, out: Streams) -> None:
        """A whole site was computed: see how far off predicting it would have been, and remember it."""
        entries, self._turn.entries = self._turn.entries, {}
        place, index = self.place, self._evaluation.index
        # A stream whose size changed has no residual.
        residuals = {
            name: bounded(out[name] - h) for name, h in entries.items() if name in out and out[name].shape == h.shape
        }
        if self.cut.is_probe(site):
            self._look(site, residuals[IMAGE])
        elif decided.change is not None and self._turn.predictable:
            offsets = self.memory.offsets(self._turn.branches, site, call, residuals, entries, place, decided.forecast)
            self._measured(site, call, decided, offsets)
        self.memory.remember(self._turn.branches, site, residuals, entries, place, index)
        if not self.cut.is_probe(site):
            self.safety.self_check(self._turn.branches, site, entries, residuals, out)

    def _measured(self, site: Site, call: BlockCall, decided: SiteDecision, offsets: Sequence[Offset]) -> None:
        """Have these read with the next decision."""
        view, index = self.decider.key(self._turn.view, self._lead(call)), self._evaluation.index
        self.decider.measurements += [Measurement(index, site, view, decided, offset) for offset in offsets]

    def _look(self, site: Site, residual: Tensor) -> None:
        """The first block's work is what some rules look at, like `_lead` in the branch that comes first."""
        parts = list(zip(self._turn.branches, residual.chunk(len(self._turn.branches)), strict=True))
        self._turn.looked_at = residual if self._turn.several_views else parts[0][1]
        parts = parts if self._turn.several_views else parts[:1]
        known = [(branch.histories.get((site, IMAGE)), now) for branch, now in parts]
        if all(history is not None and history.fits(now) for history, now in known):
            norm = self.decider.norm
            changes = [self.ranks.change(now, history.residual(now.device), norm) for history, now in known]
            self._turn.probed = self.ranks.largest_change(changes)

    def _predict(self, site: Site, call: BlockCall, decision: Decision, decided: SiteDecision) -> Streams:
        predicted = self._predicted(site, call, decided)
        self._turn.passing = range(site.first + 1, site.last + 1)
        return call.streams | predicted

    def _predicted(self, site: Site, call: BlockCall, decided: SiteDecision) -> Streams:
        """The streams that are predicted, whole."""
        kept = self.memory.kept(site, call, call.streams)
        predicted = self.memory.predict(self._turn.branches, site, kept, self.place, decided.forecast)
        if not self.cut.image_only(site):
            return predicted
        name, span = call.image
        if span.tokens == span.length:
            return {name: predicted[IMAGE]}
        whole = call.streams[name].clone()
        whole[:, span.start : span.stop] = predicted[IMAGE]
        return {name: whole}

    def _partial(self, site: Site, call: BlockCall, decision: Decision, decided: SiteDecision) -> Streams:
        """Active tokens go through all blocks of the site; static ones wait, and are predicted behind the last."""
        image, span = call.image
        active = decision.active.repeat(len(call.streams[image]) // len(decision.active), 1)
        rows = span.rows(active, decision.resting)
        attended = {STREAM: rows, SEQUENCE: call.sequence.rows(active, decision.resting)}
        # Blocks may write into what they are given, which has to be there still where this fails.
        inputs = {name: gather_tokens(h, rows) if name == image else h.clone() for name, h in call.streams.items()}
        if call.index == site.first:
            self._turn.entries = {name: h.clone() for name, h in self._chosen(site, call, active, inputs).items()}
        whole = call.streams[image].clone() if call.index < site.last else self._predicted(site, call, decided)[image]
        serve = None
        if self.memory.serves:
            serve = self.memory.server(self._turn.branches, call, attended, self.place, decided.forecast)
        place = functools.partial(span.place, active=active.shape[1], resting=decision.resting)
        outputs = self._timed(call, inputs, Attending(attended, serve=serve, place=place))
        scatter_tokens(whole, rows, outputs[image])
        if call.index == site.last:
            self._learn_rows(site, call, decision, decided, (active, rows), outputs)
        return {**outputs, image: whole}

    def _chosen(self, site: Site, call: BlockCall, active: Tensor, streams: Streams) -> Streams:
        """Of streams that hold some tokens of the image, what is kept for this site, as views."""
        image, span = call.image
        if not self.cut.image_only(site):
            return streams
        return {IMAGE: streams[image][:, span.start : span.start + active.shape[1]]}

    def _learn_rows(
        self,
        site: Site,
        call: BlockCall,
        decision: Decision,
        decided: SiteDecision,
        chosen: tuple[Tensor, Tensor],
        outputs: Streams,
    ) -> None:
        """See how far off predicting the tokens that were computed would have been, and remember them; chosen: their
        indices in the image and rows in its stream."""
        (image, span), (active, rows) = call.image, chosen
        # At sites of the image only there is nothing but its chosen tokens; else these lie among others.
        alone = self.cut.image_only(site)
        name, start, rows = (IMAGE, 0, active) if alone else (image, span.start, rows)
        here = slice(start, start + active.shape[1])
        entries, self._turn.entries = self._turn.entries, {}
        out = self._chosen(site, call, active, outputs)
        # A model's last block may return the image only, and a stream may have no tokens.
        same = [name for name, h in entries.items() if h.numel() and name in out and out[name].shape == h.shape]
        residuals = {name: bounded(out[name] - entries[name]) for name in same}
        residual, entry = residuals.pop(name), entries[name]
        if decided.change is not None:
            counted = once(decision.mask, active)
            offsets = self.memory.offsets_of_rows(
                self._turn.branches, site, name, active + start, residual[:, here], entry[:, here], counted, self.place,
                decided.forecast,
            )  # fmt: skip
            self._measured(site, call, decided, offsets)
        place, index = self.place, self._evaluation.index
        self.memory.remember_rows(self._turn.branches, site, name, rows, residual, entry, place, index)
        self.memory.remember(self._turn.branches, site, residuals, entries, place, index)

    # Reporting.

    def _open_report(self, defaults: Defaults) -> None:
        """What is known before the first evaluation."""
        report, profile, settings = self.report, self.profile, self.config.block_cache
        report.run = {"levels": [], "predictor": self.memory.predictor, **self.config.describe()}
        report.run |= {"steps": len(self.decider.schedule), "defaults": dataclasses.asdict(defaults)}
        report.run["explained"] = profile and profile.scores.get("explained")
        self.report_cut()
        report.own_thresholds = self.decider.thresholds
        for problem in self.decider.problems:
            report.note(problem)
        missing = what_is_missing(settings, profile)
        if missing:
            report.note(f"{missing} Everything is computed without it.")
        if self.ranks.size > 1:
            report.note(f"Decisions are those of {self.ranks.size} ranks together, of which this is one.")

    def report_cut(self) -> None:
        """What is decided about at once, from now on."""
        run, level = self.report.run, self.cut.level
        run |= {"level": level, "levels": [*run["levels"], level]}
        run["sites"] = [[site.first, site.last] for site in self.cut.predictable]

    def _report_decision(self, view: Hashable, entered: Entered | None, decision: Decision) -> None:
        configs = self.decider.block_cache(self._evaluation), self.decider.token_selector(self._evaluation)
        thresholds = configs[0].threshold, configs[1].threshold
        step, saliency = (None, None) if entered is None else (entered.step, entered.saliency)
        weight = self.decider.weight(self._evaluation)
        self.report.decided(view, step, decision.held, decision.forced, thresholds, saliency, weight)
        if self.decider.plan is not None and self.decider.plan.carried is not None:
            told = [f"{name} {self.profile.made_for[name]}" for name in MADE_FOR if name in self.profile.made_for]
            self.report.note(
                f"The profile's schedule, made for {', '.join(told) or 'another run'}, is carried over by sigma to "
                f"these {len(self.decider.schedule)} steps; a calibration with these steps would be closer."
            )

    def _report_errors(self) -> None:
        for evaluation, view, site, error, size in self.decider.realised:
            self.report.measured(evaluation, view, site.blocks, error, size)
        self.decider.realised = []

    def _record(self, site: Site, call: BlockCall, decision: Decision, decided: SiteDecision, action: Action) -> None:
        rows, tokens, width = call.tokens.shape
        length = call.sequence.length
        if action is Action.PREDICT:
            chosen, queries = 0, 0
        else:
            chosen = tokens if action is Action.COMPUTE else decision.active.shape[1]
            resting = call.sequence.references if action is Action.PARTIAL and decision.resting else 0
            queries = chosen + length - tokens - resting
        squared, attended = call.work
        per_query = rows * (squared * width**2 + attended * length * width)
        for block in site.blocks if action is Action.PREDICT else call.blocks:
            self.report.explain(block, decided.reason, decided.change, decided.error)
            done, full = per_query * queries, per_query * length
            self.report.count(block, chosen / tokens, rows, done, full, tokens / length, self._kinds)
        if action is not Action.PREDICT:
            samples = rows // len(self._turn.branches)
            self.report.mark_tokens((samples, tokens), decision.mask if action is Action.PARTIAL else None)
