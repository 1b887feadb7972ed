"""When to compute. A rule sees the facts of one evaluation and answers with a reason to compute, or None to predict.

Adding a rule: write one function of this signature, name it in RULES, give it a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .config import BlockCacheConfig


@dataclass(frozen=True)
class Facts:
    """What is known when an evaluation begins.

    index: evaluations before this one; is_last: the schedule's last sigma; in_window: inside start and end percent;
    change: accumulated relative change of the entry state since the last computed evaluation, None on the first;
    error: bound of the relative error of predicting now, None before one was measured;
    skips: evaluations predicted in a row just before this one. steps: length of the schedule.
    """

    index: int
    is_last: bool
    in_window: bool
    change: float | None
    error: float | None
    skips: int
    steps: int


Rule = Callable[[Facts, BlockCacheConfig], str | None]


def guard(facts: Facts, config: BlockCacheConfig) -> str | None:
    """Reasons to compute that hold for every rule."""
    if facts.steps < config.min_steps:
        return f"computed: {facts.steps} steps are too few to skip any, it takes {config.min_steps}"
    if facts.index < config.warmup_evaluations:
        return f"computed: warm-up, the first {config.warmup_evaluations} evaluations"
    if not facts.in_window:
        return "computed: outside start_percent and end_percent"
    if facts.is_last:
        return "computed: the last evaluation always is"
    if config.threshold == 0:
        return "computed: the block cache is off (block_threshold is 0)"
    if facts.change is None:
        return "computed: first evaluation of this conditioning"
    if facts.skips >= config.max_consecutive_skips:
        return f"computed: {facts.skips} evaluations in a row were predicted (max_consecutive_skips)"
    return None


def change_rule(facts: Facts, config: BlockCacheConfig) -> str | None:
    """FastCache's block test as a plain threshold on the change accumulated since the anchor."""
    return None if facts.change <= config.threshold else f"computed: change above {config.threshold:g}"


def significance_rule(facts: Facts, config: BlockCacheConfig) -> str | None:
    """Predict while the error that is exceeded with probability alpha stays within the threshold."""
    if facts.error is None:
        return "computed: no prediction error was measured yet"
    return None if facts.error <= config.threshold else f"computed: expected error above {config.threshold:g}"


RULES: dict[str, Rule] = {"change": change_rule, "significance": significance_rule}
# What a rule holds against the threshold, in words.
MEASURES = {"change": "change", "significance": "expected error"}


def reason_to_compute(facts: Facts, config: BlockCacheConfig) -> str | None:
    return guard(facts, config) or RULES[config.rule](facts, config)
