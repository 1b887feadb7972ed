"""One decision per evaluation and view: which sites to predict, and which tokens of the others to compute.

A view is a part of the picture that conditionings look at: the whole of it, an area, a context window. The decision is
taken when the first block is reached (the second one under the rule `first_block`), for all sites and for all branches
with that view, with one device synchronisation: the change of the entry state, the number of active tokens, sigma, and
what was measured at the evaluation before come to the host together.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from .config import BlockCacheConfig, FastCacheConfig, TokenSelectorConfig
from .curves import Curves
from .path import AlongSigma, NoisePath
from .policies import Facts, SiteFacts, guard, held, reasons_to_compute, why_predicted
from .predictors import REUSE, Forecast, Offset
from .ranks import Alone
from .response import Response
from .schedule import Schedule
from .signals import TINY, mean, token_saliency
from .sites import Cut, Site
from .state import Lead, SiteRecord, Step, TokenAnchors
from .thresholds import along_schedule, parse_thresholds, thresholds_of
from .tokens import active_indices, choose_active

ROW_OF_MULTISTEP = 2  # evaluations that are predicted in a row, at most, with a multistep sampler
FARTHEST_ALIGNED = 1.5  # times the way between two anchors that DiCache goes from the earlier one
Settings = TypeVar("Settings", BlockCacheConfig, TokenSelectorConfig)


class SiteDecision(NamedTuple):
    """Predict or compute, and why.

    change, error: what the rule saw. forecast: how the residual is carried forward. anchor: the last
    evaluation at which the site was not predicted; a branch that was not computed then has nothing to predict from.
    """

    predict: bool
    reason: str
    change: float | None = None
    error: float | None = None
    forecast: Forecast = REUSE
    anchor: int = -1


@dataclass(frozen=True)
class Decision:
    """What to do at one evaluation. active [samples, k] and mask [samples, tokens] select tokens, or are None; then
    tokens of reference pictures may be `resting`.

    forced: why everything is computed, whatever the thresholds, or None. held: against the general block threshold.
    """

    sites: dict[Site, SiteDecision]
    active: Tensor | None = None
    mask: Tensor | None = None
    forced: str | None = None
    held: float | None = None
    resting: bool = False


class Entered(NamedTuple):
    """What is known when a view's first block is reached. step: relative change since the evaluation before.

    saliency [samples, tokens]: of tokens, of which those in the mask are to be computed; None where none are selected.
    distance: relative change since everything was last computed. looked_at: what changes are those of. forecast: of
    what is predicted, where that follows from it. tokens: of a sample, on all ranks. resting: whether tokens of
    reference pictures may rest.
    """

    lead: Lead | None
    saliency: Tensor | None
    mask: Tensor | None
    step: float | None
    fewest: int
    most: int
    distance: float | None = None
    looked_at: Tensor | None = None
    forecast: Forecast | None = None
    tokens: int = 0
    resting: bool = False

    @property
    def some_rest(self) -> bool:
        """Whether not all tokens are to be computed."""
        return self.mask is not None and (self.resting or self.fewest < self.mask.shape[1])


@dataclass(frozen=True)
class Measurement:
    """Of a computed site: by how much predicting it would have been off. decision: what was expected."""

    evaluation: int
    site: Site
    view: Hashable
    decision: SiteDecision
    offset: Offset


class Realised(NamedTuple):
    """A measurement that was read: relative error of a prediction that was not needed, norm of the site's work."""

    evaluation: int
    view: Hashable
    site: Site
    error: float
    size: float


@dataclass
class Evaluation:
    """One call of the denoiser for one sigma; sigma is a tensor until it is read with the first measurements.

    forced: why everything is to be computed, as the host knows, or None.
    """

    index: int
    sigma: float | Tensor
    forced: str | None = None
    decisions: dict[Hashable, Decision] = field(default_factory=dict)


class Planned(NamedTuple):
    """What a mask says of one evaluation: which blocks to compute, [blocks], and how residuals are carried forward."""

    computed: Sequence[int]
    forecast: Forecast | None


class Plan:
    """A mask in one run: followed evaluation by evaluation where it was made for just these, else carried over.

    steps: sigmas of the sampler's steps. problem: why it cannot be followed, in a sentence, or None.
    """

    def __init__(self, mask: Schedule, steps: Sequence[float]):
        self.mask, self.steps = mask, list(steps)
        self.problem = mask.why_not(self.steps)
        self.carried: Schedule | None = None  # once an evaluation was met that the mask was not made for

    def at(self, evaluation: int, sigma: float) -> Planned | None:
        if self.problem is not None:
            return None
        if self.carried is None and not self.mask.is_at(evaluation, sigma):
            self.carried = self.mask.carried(self.steps)
        if self.carried is None:
            return self._planned(self.mask, evaluation)
        return self._planned(self.carried, min(range(len(self.steps)), key=lambda i: abs(self.steps[i] - sigma)))

    @staticmethod
    def _planned(mask: Schedule, row: int) -> Planned:
        forecast = None if mask.factors is None else Forecast(*mask.factors[row])
        return Planned(mask.computed[row], forecast)


class Decider:
    """Takes the decisions of one run. cut: the sites; sigmas: the sampler's; sigma_window: (high, low), to which
    skipping is limited; mask: what the rule `schedule` follows; curves: what other rules look up. ranks: the processes
    that decide together."""

    def __init__(self, config: FastCacheConfig, cut: Cut, blocks: Sequence[str], sigmas: Sequence[float],
                 sigma_window: tuple[float, float], mask: Schedule | None = None,
                 curves: Curves | None = None, ranks: Alone | None = None,
                 path: NoisePath | None = None):  # fmt: skip
        self.config, self.cut, self.sigma_window, self.curves = config, cut, sigma_window, curves
        self.ranks, self.path = ranks or Alone(), path or AlongSigma()
        ranges = parse_thresholds(config.block_cache.block_thresholds)
        self.thresholds, self.problems = thresholds_of(blocks, ranges)
        self.selecting = config.token_selector.highest_threshold > 0
        *self.schedule, self.last_sigma = sigmas if sigmas else (0.0,)  # where the last step leads
        while len(self.schedule) > 1 and self.schedule[-1] == 0 < self.schedule[0]:
            self.schedule.pop()  # it leads nowhere, and nothing is evaluated without noise
        self.ending = 1  # so many of the last evaluations are always computed
        self._response: Response | None = None  # how the sampler answers, once it was asked
        self._weights: tuple[float, ...] = ()  # how much each of these evaluations counts in the result, 1 on average
        self.plan = Plan(mask, self.schedule) if mask is not None and config.block_cache.rule == "schedule" else None
        if self.plan is not None and self.plan.problem is not None:
            self.problems.append(self.plan.problem)
        self.leads: dict[Hashable, Lead] = {}
        self.measurements: list[Measurement] = []  # to be read at the next synchronisation
        self.realised: list[Realised] = []  # read, for the report
        self.alarms: list[Tensor] = []  # booleans to be read likewise: something was added between blocks
        self.alarmed = False
        self.checks: list[Tensor] = []  # of the self-check, to be read likewise: how far off, over what is tolerated
        self.worst_check = 0.0
        self.synchronisations = 0
        self.waited = 0.0  # seconds for which the host waited for the device, whose work is not ours

    @property
    def nbytes(self) -> int:
        return sum(lead.nbytes for lead in self.leads.values())

    def know_sampler(self, response: Response, weights: Sequence[float]) -> None:
        """How the sampler answers, and how much an error of each of its evaluations counts."""
        self._response, self._weights = response, tuple(weights)

    def shorten_rows(self) -> None:
        """Multistep samplers carry forward themselves what they are told: of one prediction after another, each leans
        on the one before, and long rows cost them more than they save."""
        settings = self.config.block_cache
        if settings.rule == "significance" and settings.max_consecutive_skips == BlockCacheConfig.max_consecutive_skips:
            shorter = dataclasses.replace(settings, max_consecutive_skips=ROW_OF_MULTISTEP)
            self.config = dataclasses.replace(self.config, block_cache=shorter)

    def weight(self, evaluation: Evaluation) -> float:
        """How much an error of this evaluation counts in the result, 1 on average; 1 where that is not known."""
        return self._weights[evaluation.index] if self._is_foretold(evaluation) else 1.0

    def _is_foretold(self, evaluation: Evaluation) -> bool:
        """Whether the sampler said that it comes to this sigma at this evaluation."""
        return self._response is not None and self._response.foretells(evaluation.index, float(evaluation.sigma))

    def block_cache(self, evaluation: Evaluation) -> BlockCacheConfig:
        """The settings that hold at this evaluation, whose sigma was read."""
        return self._along(self.config.block_cache, evaluation)

    def token_selector(self, evaluation: Evaluation) -> TokenSelectorConfig:
        """The same for the token selector."""
        return self._along(self.config.token_selector, evaluation)

    def _along(self, config: Settings, evaluation: Evaluation) -> Settings:
        if not config.threshold_curve:
            return config
        factor = along_schedule(config.threshold_curve, self.schedule, float(evaluation.sigma))
        return dataclasses.replace(config, threshold=factor * config.threshold, threshold_curve=())

    @property
    def norm(self) -> float:
        """Order of the norm of relative changes."""
        return 1 if self.config.block_cache.norm == "l1" else 2

    @staticmethod
    def key(view: Hashable, h: Tensor) -> Hashable:
        return (view, *h.shape)

    def read(
        self,
        evaluation: Evaluation,
        view: Hashable,
        h: Tensor,
        change: Tensor | None,
        select: bool,
        looked_at: Tensor | None = None,
        references: int = 0,
    ) -> Entered:
        """The one synchronisation of this evaluation and view; h [samples, tokens, width] is its entry state.

        looked_at: what is looked at instead of the entry state, if anything is; change: its relative change.
        references: how many tokens of reference pictures there are beside these.
        """
        lead, saliency, mask, resting = self.leads.get(self.key(view, h)), None, None, False
        if select and lead is not None and lead.anchors is not None:
            # A threshold that follows sigma costs a second synchronisation: sigma has to be read first.
            config = self.token_selector(evaluation)
            if config.threshold > 0:
                saliency = token_saliency(h, lead.anchors.hidden, self.ranks.mean)
                mask = choose_active(saliency, lead.anchors.age, config, h)
                resting = references > 0 and lead.references < config.refresh_interval
        wanted = self.ranks.told(h) | ({"sigma": evaluation.sigma} if isinstance(evaluation.sigma, Tensor) else {})
        if change is not None:
            wanted["change"] = change
        elif lead is not None and lead.entry is not None:
            wanted["change"] = self.ranks.change(h, lead.entry, self.norm)
        looked_at = h if looked_at is None else looked_at
        known = [] if lead is None else lead.looked_at
        if known:
            wanted["distance"] = self.ranks.change(looked_at, known[0], self.norm)
        asked = self.config.block_cache.predictor == "aligned"
        forecast = aligned(looked_at, *known, mean=self.ranks.mean) if asked else None
        if mask is not None:
            wanted |= self.ranks.counts(mask)
        found = self._read(wanted, h.device)
        evaluation.sigma = found.get("sigma", evaluation.sigma)
        fewest = 0 if mask is None else self.ranks.fewest(found["fewest"], mask.shape[1])
        most, tokens = round(found.get("most", 0)), round(found.get("tokens", h.shape[1]))
        return Entered(
            lead, saliency, mask, found.get("change"), fewest, most, found.get("distance"), looked_at, forecast, tokens,
            resting,
        )  # fmt: skip

    def decide(self, evaluation: Evaluation, view: Hashable, h: Tensor, entered: Entered) -> Decision:
        """The evaluation's decision for this view, once what was measured has been read."""
        key = self.key(view, h)
        lead = entered.lead or self._new_lead(h)
        self.leads[key] = lead
        lead.travelled += entered.step or 0.0
        lead.path.append(Step(float(evaluation.sigma), entered.step or 0.0))
        config, facts = self.block_cache(evaluation), self._facts(evaluation, entered.tokens * h.shape[2])
        planned = None if self.plan is None else self.plan.at(evaluation.index, float(evaluation.sigma))
        weight = self.weight(evaluation)
        known = site_facts(lead, self.cut.predictable, entered.step, config.alpha, self.thresholds, weight)
        if entered.distance is not None:
            known = [seen._replace(distance=entered.distance) for seen in known]
        if planned is not None:
            known = [
                seen._replace(planned=any(planned.computed[block] for block in site.blocks))
                for seen, site in zip(known, self.cut.predictable, strict=True)
            ]
        forced = evaluation.forced or guard(facts, config)
        reasons = reasons_to_compute(facts, known, config) if forced is None else [forced] * len(known)
        sites = {
            site: self._site_decision(
                lead, site, seen, why or why_predicted(config, seen.threshold), why is None, planned, entered.forecast
            )
            for site, seen, why in zip(self.cut.predictable, known, reasons, strict=True)
        }
        decision = Decision(sites) if forced else self._selecting(facts, evaluation, entered, sites)
        decision = dataclasses.replace(decision, forced=forced, held=held(facts, known, config))
        self._advance(evaluation, lead, h, decision)
        self._look_back(lead, entered.looked_at, decision)
        evaluation.decisions[key] = decision
        return decision

    def _read(self, wanted: dict[str, Tensor], device: torch.device) -> dict[str, float]:
        """Bring scalars to the host, all at once; learn from what they tell."""
        norms = [norm for m in self.measurements for norm in (m.offset.error, m.offset.size)]
        scalars = [*wanted.values(), *norms, *self.alarms, *self.checks]
        if not scalars:
            return {}
        steps = [part for m in self.measurements for part in (m.offset.along, m.offset.length)]
        together, steps = self.ranks.together(scalars, steps, device)
        begun = time.perf_counter()
        read = together.tolist()
        self.waited += time.perf_counter() - begun
        self.synchronisations += 1
        lengths = {"norm": len(norms), "alarm": len(self.alarms), "check": len(self.checks)}
        kinds = [*wanted, *(kind for kind, length in lengths.items() for _ in range(length))]
        numbers = self.ranks.whole(kinds, scalars, read, self.norm)
        rest = numbers[len(wanted) :]
        self._learn(rest[: len(norms)], steps)
        told = rest[len(norms) :]
        self.alarmed = self.alarmed or any(told[: len(self.alarms)])
        # max() would pass over NaN, which is the worst of all.
        off = [check if check == check else float("inf") for check in told[len(self.alarms) :]]
        self.worst_check = max([self.worst_check, *off])
        self.measurements, self.alarms, self.checks = [], [], []
        return dict(zip(wanted, numbers, strict=False))

    def _learn(self, norms: list[float], steps: list[Tensor]) -> None:
        """Pass errors on to the statistics of their sites; those of one evaluation's branches add up.

        steps: what measurements know of the steps of extrapolation, `along` and `length` of all tokens in turn.
        """
        together: dict[tuple[Hashable, Site, int], list[tuple[Measurement, float, float, tuple[Tensor, Tensor]]]] = {}
        pairs = zip(self.measurements, norms[::2], norms[1::2], zip(steps[::2], steps[1::2], strict=True), strict=True)
        for m, error, size, step in pairs:
            together.setdefault((m.view, m.site, m.evaluation), []).append((m, error, size, step))
        for (view, site, evaluation), parts in together.items():
            measurements, errors, sizes, taken = zip(*parts, strict=True)
            error = sum(errors) / (sum(sizes) + TINY)
            self.realised.append(Realised(evaluation, view, site, error, sum(sizes)))
            lead = self.leads.get(view)  # forgotten where the run was switched off
            record = None if lead is None else lead.sites.get(site)
            if record is not None:
                record.size = sum(sizes)
                record.errors.update(error, measurements[0].decision.change)
                if measurements[0].decision.change > 0:
                    record.rate = error / measurements[0].decision.change
                record.damping.update(*(sum(parts) for parts in zip(*taken, strict=True)))

    def finish(self) -> None:
        """Read what was measured after the last decision."""
        if self.measurements:
            self._read({}, self.measurements[0].offset.error.device)

    def let_go(self) -> None:
        """Forget what decisions rest on, and what was to be read."""
        self.leads.clear()
        self.measurements, self.alarms, self.checks = [], [], []

    def give_up_tokens(self) -> None:
        """Select none for the rest of the run."""
        self.selecting = False
        for lead in self.leads.values():
            lead.anchors = None

    def _facts(self, evaluation: Evaluation, elements: int) -> Facts:
        sigma, (high, low) = evaluation.sigma, self.sigma_window
        return Facts(
            index=evaluation.index,
            ending=self.ending if self._is_ending(evaluation) else 0,
            in_window=low <= sigma <= high,
            elements=elements,
            sigma=sigma,
            curves=self.curves,
        )

    def _is_ending(self, evaluation: Evaluation) -> bool:
        """Whether this is one of the last evaluations; sigmas rise where a picture is turned back into noise."""
        sigma = float(evaluation.sigma)
        if self._is_foretold(evaluation):
            noisy = [index for index, known in enumerate(self._response.sigmas) if known > 0]
            return evaluation.index > noisy[-1] - self.ending if noisy else True
        last = self.schedule[len(self.schedule) - self.ending :]
        rounding = 1e-5  # sigma comes back in float32
        if last and last[-1] > self.schedule[0]:
            return sigma >= min(last) * (1 - rounding)
        return bool(last) and sigma <= max(last) * (1 + rounding)

    def _selecting(
        self, facts: Facts, evaluation: Evaluation, entered: Entered, sites: dict[Site, SiteDecision]
    ) -> Decision:
        """Add the selection of tokens, for blocks that are computed.

        None rest at the beginning and at the end, whatever the rule: keys and values are carried forward along two
        anchors, and what is missed at the end is never put right.
        """
        if entered.mask is None or facts.ending or facts.index < self.config.token_selector.warmup_evaluations:
            return Decision(sites)
        if not entered.some_rest:
            reason = f"computed: every token changed more than {self.token_selector(evaluation).threshold:g}"
            return Decision({s: d if d.predict else d._replace(reason=reason) for s, d in sites.items()})
        return Decision(sites, active_indices(entered.mask, entered.most), entered.mask, resting=entered.resting)

    def _site_decision(
        self,
        lead: Lead,
        site: Site,
        seen: SiteFacts,
        reason: str,
        predict: bool,
        planned: Planned | None,
        forecast: Forecast | None,
    ) -> SiteDecision:
        record = lead.sites.get(site)
        if record is None:
            return SiteDecision(predict, reason, seen.change, seen.error)
        forecast = forecast or self.config.block_cache.fixed_forecast
        if forecast is None:
            # A mask's factors are for what it skips; it has none for tokens that rest where it computes.
            calibrated = planned.forecast if planned and predict else None
            forecast = calibrated or Forecast(record.damping.value, bent=True)
        return SiteDecision(predict, reason, seen.change, seen.error, forecast, record.computed_at)

    def _look_back(self, lead: Lead, looked_at: Tensor | None, decision: Decision) -> None:
        """Keep what was looked at where everything is computed, as far as the settings need it."""
        kept = self.config.block_cache.keeps_anchors
        if kept and looked_at is not None and not any(done.predict for done in decision.sites.values()):
            lead.looked_at = [looked_at.clone(), *lead.looked_at][:kept]

    def _new_lead(self, h: Tensor) -> Lead:
        return Lead(None, TokenAnchors.fresh(h) if self.selecting else None)

    def _advance(self, evaluation: Evaluation, lead: Lead, h: Tensor, decision: Decision) -> None:
        """What the next decision is to rest on."""
        predicted = {site: done.predict for site, done in decision.sites.items()}
        advance_sites(lead, evaluation.index, predicted)
        if not self.cut.probe:
            lead.entry = h.clone()
        if lead.anchors is not None:
            computed = not all(predicted.values())
            lead.references = 0 if computed and not decision.resting else lead.references + 1
            if not computed:
                lead.anchors.rest()
            elif decision.mask is None:
                lead.anchors.move_all(h.clone() if lead.entry is None else lead.entry)
            else:
                lead.anchors.move(h, decision.mask)


def aligned(
    now: Tensor,
    last: Tensor | None = None,
    before: Tensor | None = None,
    mean: Callable[[Tensor], Tensor] = mean,
) -> Forecast:
    """DiCache (arXiv 2508.17356): y = x + r_b + g (r_a - r_b), with g as what is looked at goes from anchor b past a.

    g = mean|now - before| / mean|last - before| of every sample, from 1 to 1.5; reuse until there are two anchors.
    mean: of every sample's numbers, where not all tokens are here.
    """
    if last is None or before is None:
        return REUSE
    gone, between = (mean((h - before).abs()) for h in (now, last))
    return Forecast((gone / (between + TINY)).clamp(1, FARTHEST_ALIGNED) - 1, in_sigma=False)


def site_facts(
    lead: Lead,
    sites: Sequence[Site],
    step: float | None,
    alpha: float,
    own_thresholds: Mapping[int, float],
    weight: float = 1.0,
) -> list[SiteFacts]:
    """What a rule is told of every site; step: relative change since the evaluation before, which lead knows of;
    weight: how much an error counts at this evaluation."""
    records = [lead.sites.get(site) for site in sites]
    total = sum(record.size for record in records if record is not None) or 1.0
    known = []
    for site, record in zip(sites, records, strict=True):
        own = min((own_thresholds[block] for block in site.blocks if block in own_thresholds), default=None)
        if record is None or step is None:
            known.append(SiteFacts(None, step, None, 1.0, 0, own))
            continue
        change = lead.travelled - record.travelled
        share = record.size / total if len(sites) > 1 else 1.0
        error = record.errors.bound(change, alpha)
        error = None if error is None else weight * error
        anchor = lead.path[record.left - 1].sigma if record.left else 0.0
        seen = SiteFacts(change, step, error, share, record.skips, own, anchor=anchor, path=lead.path[record.left :])
        known.append(seen._replace(rate=record.rate, longest=record.longest))
    return known


def advance_sites(lead: Lead, evaluation: int, predicted: Mapping[Site, bool]) -> None:
    """Count what was predicted, and where what was not left the lead."""
    for site, skipped in predicted.items():
        record = lead.sites.setdefault(site, SiteRecord())
        if skipped:
            record.skips += 1
        else:
            record.longest, record.skips = max(record.longest, record.skips), 0
            record.computed_at, record.travelled, record.left = evaluation, lead.travelled, len(lead.path)
