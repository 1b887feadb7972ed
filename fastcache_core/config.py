"""What a user can set. Every invalid value is refused with a sentence that names the value and the cure."""

from __future__ import annotations

import math
from dataclasses import dataclass

RULES = ("significance", "change")
PREDICTORS = ("auto", "reuse", "extrapolate")
LEVELS = ("auto", "block", "stack")
CACHE_DEVICES = ("main", "offload")


def _check_number(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, but it must be a number from {low:g} to {high:g}.")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value:g}, but it must lie between {low:g} and {high:g}.")


def _check_integer(name: str, value: int, low: int, high: int) -> None:
    _check_number(name, value, low, high)
    if value != int(value):
        raise ValueError(f"{name} is {value:g}, but it must be a whole number from {low} to {high}.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, but it must be one of: {', '.join(choices)}.")


@dataclass(frozen=True)
class BlockCacheConfig:
    """When a block's work is predicted instead of computed, and how.

    threshold: up to which blocks are predicted. Higher is faster and less faithful; 0 switches the block cache off.
    rule: what is held against the threshold. `significance`: the relative error that the prediction of the blocks' work
        exceeds with probability `alpha`, learned from measured errors (0.5: the expected error). `change`: the relative
        change of the entry state, accumulated since the last computed evaluation.
    predictor: `reuse` keeps the last residual; `extrapolate` carries it forward in sigma along its last difference,
        multiplied by `damping`; `auto` is the best measured one, `extrapolate`.
    level: what is predicted at once. `block` keeps a residual per block, `stack` one per block list (least memory);
        `auto` is `stack`, or `block` while tokens are selected, since those need their own residual in every block.
    warmup_evaluations: this many evaluations are computed first; extrapolation needs two of them.
    max_consecutive_skips: after this many predicted evaluations one is computed, whatever the rule says.
    min_steps: schedules with fewer steps (turbo and distilled models) are left alone, every step of theirs counts.
    """

    threshold: float = 0.1
    rule: str = "significance"
    alpha: float = 0.5
    predictor: str = "auto"
    level: str = "auto"
    warmup_evaluations: int = 3
    max_consecutive_skips: int = 3
    damping: float = 0.75
    min_steps: int = 8

    def __post_init__(self) -> None:
        _check_number("block_threshold", self.threshold, 0, 10)
        _check_choice("rule", self.rule, RULES)
        _check_number("alpha", self.alpha, 0.001, 0.999)
        _check_choice("predictor", self.predictor, PREDICTORS)
        _check_choice("level", self.level, LEVELS)
        _check_integer("warmup_evaluations", self.warmup_evaluations, 1, 1000)
        _check_integer("max_consecutive_skips", self.max_consecutive_skips, 1, 1000)
        _check_number("damping", self.damping, 0, 2)
        _check_integer("min_steps", self.min_steps, 1, 1000)


@dataclass(frozen=True)
class TokenSelectorConfig:
    """Which image tokens of a computed block are computed.

    threshold: a token is active when the squared change of its hidden state since it was last computed exceeds this
        fraction of the tokens' mean squared norm. Higher is faster and less faithful; 0 switches the selector off.
    min_active, max_active: bounds on the active fraction of tokens.
    refresh_interval: a token is computed again after at most this many evaluations.
    """

    threshold: float = 0.0
    min_active: float = 0.0
    max_active: float = 1.0
    refresh_interval: int = 6

    def __post_init__(self) -> None:
        _check_number("token_threshold", self.threshold, 0, 10)
        _check_number("min_active", self.min_active, 0, 1)
        _check_number("max_active", self.max_active, 0, 1)
        _check_integer("refresh_interval", self.refresh_interval, 1, 1000)
        if self.min_active > self.max_active:
            raise ValueError(
                f"min_active ({self.min_active:g}) is above max_active ({self.max_active:g}); "
                "lower the one or raise the other."
            )


@dataclass(frozen=True)
class FastCacheConfig:
    """All settings of one patched model. Percentages are of the sampling schedule, by sigma."""

    block_cache: BlockCacheConfig = BlockCacheConfig()
    token_selector: TokenSelectorConfig = TokenSelectorConfig()
    start_percent: float = 0.0
    end_percent: float = 1.0
    cache_device: str = "main"

    def __post_init__(self) -> None:
        _check_number("start_percent", self.start_percent, 0, 1)
        _check_number("end_percent", self.end_percent, 0, 1)
        _check_choice("cache_device", self.cache_device, CACHE_DEVICES)
        if self.start_percent >= self.end_percent:
            raise ValueError(
                f"start_percent ({self.start_percent:g}) must be below end_percent ({self.end_percent:g}); "
                "nothing could ever be skipped."
            )

    def describe(self) -> dict[str, str | float]:
        """The settings that a report repeats."""
        return {
            "rule": self.block_cache.rule,
            "block_threshold": self.block_cache.threshold,
            "token_threshold": self.token_selector.threshold,
        }

    @property
    def off_reason(self) -> str | None:
        """Why these settings can skip nothing, or None."""
        if self.block_cache.threshold == 0 and self.token_selector.threshold == 0:
            return "Switched off: block_threshold and token_threshold are both 0. Raise one of them to skip work."
        return None
