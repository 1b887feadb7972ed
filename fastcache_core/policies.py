"""When to compute. A rule sees the facts of one evaluation and answers, for every site, with a reason to compute it, or
None to predict it.

A site is what is predicted at once: a block, a span of blocks, the whole stack. Adding a rule: write one function of
this signature, name it in RULES and in config.RULES, and give it a test; or, where it holds something of every site
against a threshold, a function of one site, named in OF_SITE, and what it is in MEASURES.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .chi_square import chi_square_quantile
from .config import PLANNED, BlockCacheConfig
from .curves import MAGNITUDE, OF_STATE, OF_TIME, POLYNOMIAL, Curves
from .report import EXPECTED, SUM
from .signals import TINY
from .state import Step


@dataclass(frozen=True)
class Facts:
    """What is known of an evaluation when it begins.

    index: evaluations before this one; ending: 0, or how many of the schedule's last sigmas are always computed, where
    this is one of them; in_window: inside start and end percent;
    elements: numbers in the state of one sample. sigma: of this evaluation. curves: what calibration measured, or None.
    """

    index: int
    ending: int
    in_window: bool
    elements: int = 1
    sigma: float = 0.0
    curves: Curves | None = None


class SiteFacts(NamedTuple):
    """What is known of a site.

    change: relative change of the entry state accumulated since the site was computed, None if it never was;
    step: the same since the evaluation before. error: bound of the error of predicting it now, relative to its work,
    None before one was measured; share: its work, as a part of all sites'. skips: evaluations predicted in a row just
    before this one; longest: the most that were in a row before those. threshold: its own, None where the general one
    holds. planned: whether a mask has it computed. distance: relative change since everything was last computed, as the
    crow flies, where a rule needs it. anchor: sigma at which the site was computed; path: the evaluations since then,
    with this one. rate: last measured error over the change that it took.
    """

    change: float | None
    step: float | None
    error: float | None
    share: float
    skips: int
    threshold: float | None = None
    planned: bool | None = None
    distance: float | None = None
    anchor: float = 0.0
    path: Sequence[Step] = ()
    rate: float | None = None
    longest: int = 0


GROWTH = 2  # times the longest row of predicted evaluations so far is the most that the next one has
Rule = Callable[[Facts, Sequence[SiteFacts], BlockCacheConfig], "list[str | None]"]


def guard(facts: Facts, config: BlockCacheConfig) -> str | None:
    """Reasons to compute that hold for every rule, site and threshold."""
    if facts.index < config.warmup_evaluations:
        return f"computed: warm-up, the first {config.warmup_evaluations} evaluations"
    if not facts.in_window:
        return "computed: outside start_percent and end_percent"
    if facts.ending and config.rule != "schedule":
        return f"computed: {'the last evaluation always is' if facts.ending == 1 else 'the last two always are'}"
    return None


def guard_site(site: SiteFacts, config: BlockCacheConfig) -> str | None:
    """The same for one site."""
    if site.threshold == 0:
        return "computed: block_thresholds says 0 here"
    if site.change is None:
        return "computed: nothing is remembered of it yet"
    if site.skips >= config.max_consecutive_skips and config.rule not in PLANNED:
        return f"computed: {site.skips} evaluations in a row were predicted (max_consecutive_skips)"
    if config.rule == "significance" and site.skips >= (most := max(1, GROWTH * site.longest)):
        return f"computed: no more than {most} evaluations in a row may be predicted yet"
    return None


def threshold_rule(facts: Facts, sites: Sequence[SiteFacts], config: BlockCacheConfig) -> list[str | None]:
    """What the rule measures is held against the threshold, or the site's own."""

    def test(site: SiteFacts) -> str | None:
        measured, threshold = OF_SITE[config.rule](facts, site), config.threshold
        if measured is None:
            return f"computed: {MEASURES[config.rule]} is not known"
        threshold = threshold if site.threshold is None else site.threshold
        return None if measured <= threshold else f"computed: {MEASURES[config.rule]} above {threshold:g}"

    return [test(site) for site in sites]


def change(facts: Facts, site: SiteFacts) -> float | None:
    """FastCache's block test as a plain threshold; DiCache (arXiv 2508.17356) looks likewise at the first block."""
    return site.change


def distance(facts: Facts, site: SiteFacts) -> float | None:
    """First-Block Cache compares with the last computed evaluation, whatever lies between."""
    return site.distance


def fitted_change(facts: Facts, site: SiteFacts) -> float | None:
    """TeaCache (arXiv 2411.19108): changes of the input as changes of the output, by a polynomial, added up.

    No change is below zero, which a polynomial may be beyond what it was fitted to.
    """
    if facts.curves is None or POLYNOMIAL not in facts.curves.coefficients:
        return None
    fitted = [float(np.polyval(facts.curves.coefficients[POLYNOMIAL], step.change)) for step in site.path]
    return sum(value if not value < 0 else 0.0 for value in fitted)  # NaN stays, and has it computed


def magnitude(facts: Facts, site: SiteFacts) -> float | None:
    """MagCache (arXiv 2506.09045): sum of |1 - R| over what is predicted, R the size of the work over the anchor's."""
    if facts.curves is None or MAGNITUDE not in facts.curves.values:
        return None
    at_anchor = facts.curves.at(MAGNITUDE, site.anchor) + TINY
    return sum(abs(1 - facts.curves.at(MAGNITUDE, step.sigma) / at_anchor) for step in site.path)


def sensitivity(facts: Facts, site: SiteFacts) -> float | None:
    """SenCache (arXiv 2602.24208): J_x times the distance of the state, plus J_t times that of sigma."""
    if facts.curves is None or not {OF_STATE, OF_TIME} <= set(facts.curves.values) or site.distance is None:
        return None
    of_state, of_time = (facts.curves.at(name, site.anchor) for name in (OF_STATE, OF_TIME))
    return of_state * site.distance + of_time * abs(facts.sigma - site.anchor)


def rate(facts: Facts, site: SiteFacts) -> float | None:
    """EasyCache (arXiv 2507.02860): the output goes on changing with the input as it did at the last measurement."""
    return None if site.rate is None else site.rate * site.change


def _mask(config: BlockCacheConfig) -> str:
    """What the rule `schedule` follows, in words."""
    if config.mask == "profile":
        return "the schedule"
    made = f"interval {config.interval}" if config.mask == "procache" else f"block_threshold {config.threshold:g}"
    return f"the mask {config.mask}, made for {made},"


def interval_rule(facts: Facts, sites: Sequence[SiteFacts], config: BlockCacheConfig) -> list[str | None]:
    """FORA (arXiv 2407.01425): compute every interval-th evaluation."""
    due = f"computed: one evaluation in {config.interval} is (interval)"
    return [None if site.skips + 1 < config.interval else due for site in sites]


def schedule_rule(facts: Facts, sites: Sequence[SiteFacts], config: BlockCacheConfig) -> list[str | None]:
    """A mask over evaluations and blocks; what is predicted at once is computed if any block of it is to be."""
    missing, due = "computed: there is no schedule for this run", f"computed: {_mask(config)} says so"
    return [missing if site.planned is None else due if site.planned else None for site in sites]


def paper_chi_square_rule(facts: Facts, sites: Sequence[SiteFacts], config: BlockCacheConfig) -> list[str | None]:
    """FastCache as published: predict iff change^2 <= chi2(n d, 1 - alpha) / (n d), n tokens of width d.

    The change is the one since the evaluation before. The bound is within 0.3 % of 1 for any real model, so that only
    a state which changed by all of its own size counts as changed: degenerate, and here for study only.
    """
    bound = math.sqrt(chi_square_quantile(1 - config.alpha, facts.elements) / facts.elements)
    return [
        None if site.step <= bound else f"computed: change beyond the chi-square bound, {bound:.5f}" for site in sites
    ]


def significance_rule(facts: Facts, sites: Sequence[SiteFacts], config: BlockCacheConfig) -> list[str | None]:
    """Predict while the expected errors of all sites add up to no more than the threshold.

    Errors of what is predicted in one evaluation add up at most (triangle inequality; the bound of FastCache's section
    on error accumulation), each weighted by the site's share of the work. All or none: to predict just those sites
    whose errors still fit was measured to be far worse, because the others then work on states that were predicted.
    Rows of predicted evaluations grow by doubling at most (guard_site): where much is allowed, a long row right after
    the warm-up, when errors are largest and least known, cost more than all later ones.
    Sites with a threshold of their own are held to that alone.
    """
    shared = [site for site in sites if site.threshold is None]
    above = f"computed: {EXPECTED if len(shared) == 1 else SUM} above {config.threshold:g}"
    # An error that is no number lies within no threshold.
    together = None if (held(facts, shared, config) or 0.0) <= config.threshold else above

    def test(site: SiteFacts) -> str | None:
        if site.error is None:
            return "computed: no prediction error was measured yet"
        if site.threshold is None:
            return together
        return None if site.error <= site.threshold else f"computed: {EXPECTED} above {site.threshold:g}"

    return [test(site) for site in sites]


def held(facts: Facts, sites: Sequence[SiteFacts], config: BlockCacheConfig) -> float | None:
    """What the rule holds against the general threshold; None where it holds nothing, or knows nothing yet."""
    shared = [site for site in sites if site.threshold is None]
    if config.rule == "significance":
        errors = [site.share * site.error for site in shared if site.error is not None]
        return sum(errors) if errors else None
    if config.rule not in OF_SITE:
        return None
    measured = [OF_SITE[config.rule](facts, site) for site in shared if site.change is not None]
    return max((value for value in measured if value is not None), default=None)


# What a rule that is nothing but a threshold measures.
OF_SITE: dict[str, Callable[[Facts, SiteFacts], float | None]] = {
    "change": change,
    "distance": distance,
    "first_block": change,
    "first_block_distance": distance,
    "fitted_change": fitted_change,
    "magnitude": magnitude,
    "sensitivity": sensitivity,
    "rate": rate,
}
RULES: dict[str, Rule] = {
    "significance": significance_rule,
    **dict.fromkeys(OF_SITE, threshold_rule),
    "interval": interval_rule,
    "schedule": schedule_rule,
    "paper_chi_square": paper_chi_square_rule,
}
# What a rule holds against its threshold, in words; the others hold nothing.
MEASURES = {
    "significance": EXPECTED,
    "change": "change",
    "distance": "distance from the anchor",
    "first_block": "change of the first block's work",
    "first_block_distance": "distance of the first block's work from the anchor",
    "fitted_change": "fitted change of the output",
    "magnitude": "change of the work's size",
    "sensitivity": "change that the sensitivities expect",
    "rate": "change of the output at its last rate",
}


def reasons_to_compute(facts: Facts, sites: Sequence[SiteFacts], config: BlockCacheConfig) -> list[str | None]:
    """For every site the reason to compute it, or None to predict it; `guard` has nothing against predicting."""
    if config.threshold == 0:
        return ["computed: the block cache is off (its threshold is 0)"] * len(sites)
    answers = [guard_site(site, config) for site in sites]
    open_sites = [i for i, answer in enumerate(answers) if answer is None]
    rule = RULES[config.rule](facts, [sites[i] for i in open_sites], config)
    for i, answer in zip(open_sites, rule, strict=True):
        answers[i] = answer
    return answers


def why_predicted(config: BlockCacheConfig, own: float | None) -> str:
    """The reason of a predicted site; own: its own threshold, if it has one."""
    if config.rule == "interval":
        return f"predicted: one evaluation in {config.interval} is computed (interval)"
    if config.rule == "schedule":
        return f"predicted: {_mask(config)} says so"
    if config.rule == "paper_chi_square":
        return f"predicted: change within the chi-square bound at alpha {config.alpha:g}"
    return f"predicted: {MEASURES[config.rule]} within {config.threshold if own is None else own:g}"
