"""What a user can set. Every invalid value is refused with a sentence that names the value and the cure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from .defaults import Defaults
from .predictors import LARGEST_FACTOR, REUSE, Forecast
from .thresholds import HIGHEST, parse_thresholds

RULES = ("significance", "change", "distance", "interval", "schedule", "first_block", "first_block_distance",
         "fitted_change", "magnitude", "sensitivity", "rate", "paper_chi_square")  # fmt: skip
PROBING = ("first_block", "first_block_distance")  # rules that look at the first block's work
OF_BLOCKS = ("fitted_change", "magnitude", "sensitivity")  # rules that look up what a profile says of blocks
PLANNED = ("interval", "schedule")  # rules that say themselves how often to compute
AS_THE_CROW_FLIES = ("distance", "first_block_distance", "sensitivity")  # rules that compare with the anchor
MASKS = ("profile", "learning_to_cache", "smoothcache", "invardiff", "block_caching", "procache", "eb_cache")
PREDICTORS = ("auto", "reuse", "extrapolate", "aligned", "linear")
NORMS = ("l2", "l1")
ALONG = ("path", "sigma")
LEVELS = ("auto", "sublayer", "block", "span", "stack", "model_output")
CHOICES = ("saliency", "clusters", "round_robin")
CONTEXTS = ("all_tokens", "active_tokens")
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


def _check_curve(threshold: float, curve: tuple[float, ...]) -> None:
    for place, factor in enumerate(curve, 1):
        what = f"threshold_curve times threshold, number {place} of {len(curve)},"
        _check_number(what, threshold * factor if isinstance(factor, int | float) else factor, 0, HIGHEST)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, but it must be one of: {', '.join(choices)}.")


@dataclass(frozen=True)
class BlockCacheConfig:
    """When a block's work is predicted instead of computed, and how.

    threshold: up to which blocks are predicted. Higher is faster and less faithful; 0 switches the block cache off.
    threshold_curve: factors on the threshold, spread evenly over the steps and linear in between; none: 1 throughout.
    rule: what is held against the threshold (policies.py).
        significance: the error that predicting makes, summed over what is predicted in an evaluation, relative to the
            blocks' work; the bound of it that is exceeded with probability `alpha`, learned from measured errors. At
            most twice as many evaluations in a row are predicted as ever before in the run, one at first.
        change: relative change of the entry state, accumulated since the last computed evaluation.
        distance: the same not accumulated, as the crow flies.
        first_block, first_block_distance: both of the first block's work; that block is computed at every evaluation.
        fitted_change: a profile's polynomial in the change, accumulated (TeaCache).
        magnitude: by how much the work's size is off, as a profile knows it, accumulated (MagCache).
        sensitivity: what a profile's sensitivities make of the distance in state and in sigma (SenCache).
        rate: the change, times the last measured error over the change that it took (EasyCache).
        schedule: nothing; a mask over evaluations and blocks, which is a profile's, or made of its change table.
        interval: nothing; every `interval`-th evaluation is computed (FORA).
        paper_chi_square: nothing either; the paper's test at level `alpha`, which nearly every change passes.
    predictor: `reuse` keeps the last residual; `extrapolate` carries it forward in sigma along its last difference,
        damped; `aligned` carries it as far as what the rule looks at went between its last two anchors (DiCache);
        `linear` adds a linear function of what changed in the state; `auto` is the best measured one.
    level: what is predicted at once: a `sublayer` (attention or MLP of a block, before its gate, where the family lets
        them be reached, else the block), a `block`, a `span` (a quarter of a list of blocks), the whole `stack`, or the
        `model_output`, where no block is touched. `auto` is `stack`, or `block` where block_thresholds are given; to a
        host that reaches the whole model it is `model_output` where nothing is said of blocks or tokens (sites.py).
    block_thresholds: thresholds of their own for ranges of blocks, such as `0-6: 0.02, 7-18: 0.08`; 0: never predict.
    warmup_evaluations: this many evaluations are computed first; extrapolation needs two of them. 0: the default for
        the model and the schedule (defaults.py).
    max_consecutive_skips: after this many predicted evaluations one is computed, whatever the rule says, except
        `interval` and `schedule`, which say it themselves.
    forecast: how residuals are carried forward (predictors.py); None: damped extrapolation whose damping is found while
        sampling, from what would have been right so far, or as the profile of the rule `schedule` says.
    mask: what the rule `schedule` follows: the `profile`'s own mask, or one that a method makes of its change table
        (calibration/schedules.py), whose knob is the threshold, or the interval.
    corrector: whether what predicted evaluations did to the picture is put right when the next one is computed
        (corrector.py), where the sampler allows it; the last two evaluations are then always computed.
    along: what residuals are carried along: the noise `path` (path.py), or `sigma`, as published methods have it.
    norm: of relative changes, `l2` or `l1`, mean absolute values, as many methods have it.
    min_steps: schedules with fewer steps (turbo and distilled models) are left alone, every step of theirs counts. 0:
        the default for the model.
    """

    threshold: float = 0.1
    rule: str = "significance"
    alpha: float = 0.5
    interval: int = 3
    predictor: str = "auto"
    level: str = "auto"
    block_thresholds: str = ""
    warmup_evaluations: int = 0
    max_consecutive_skips: int = 3
    forecast: Forecast | None = None
    min_steps: int = 0
    threshold_curve: tuple[float, ...] = ()
    mask: str = "profile"
    norm: str = "l2"
    corrector: bool = True
    along: str = "path"

    def __post_init__(self) -> None:
        _check_number("block_threshold", self.threshold, 0, HIGHEST)
        _check_curve(self.threshold, self.threshold_curve)
        _check_choice("rule", self.rule, RULES)
        _check_number("alpha", self.alpha, 0.001, 0.999)
        _check_integer("interval", self.interval, 1, 1000)
        _check_choice("predictor", self.predictor, PREDICTORS)
        _check_choice("level", self.level, LEVELS)
        _check_choice("mask", self.mask, MASKS)
        _check_choice("norm", self.norm, NORMS)
        _check_choice("along", self.along, ALONG)
        parse_thresholds(self.block_thresholds)
        _check_integer("max_consecutive_skips", self.max_consecutive_skips, 1, 1000)
        for name in ("first", "second") if self.forecast else ():
            factor = getattr(self.forecast, name)
            _check_number(f"The forecast's {name} factor", factor, -LARGEST_FACTOR, LARGEST_FACTOR)
        _check_integer("warmup_evaluations", self.warmup_evaluations, 0, 1000)
        _check_integer("min_steps", self.min_steps, 0, 1000)
        if self.level == "sublayer" and self.probes:
            raise ValueError(
                f"The rule {self.rule} looks at what the first block adds to the state, which the level sublayer never "
                "sees; choose the level stack, or another rule."
            )
        if self.level == "sublayer" and self.predictor == "linear":
            raise ValueError(
                "The predictor linear follows the state that a block adds to, and a sub-layer adds to none; choose the "
                "predictor extrapolate or reuse, or the level block."
            )
        if self.rule in OF_BLOCKS and self.level == "model_output":
            raise ValueError(
                f"The rule {self.rule} looks up what a profile says of blocks, of which the level model_output touches "
                "none; choose the level stack, or another rule."
            )
        if self.probes and self.level == "model_output":
            raise ValueError(
                f"The rule {self.rule} looks at the first block, which the level model_output never sees; "
                "choose the level stack, or another rule."
            )

    @property
    def highest_threshold(self) -> float:
        return self.threshold * max(self.threshold_curve, default=1.0)

    @property
    def probes(self) -> bool:
        """Whether the first block is always computed, and its work is looked at."""
        return self.rule in PROBING

    @property
    def keeps_anchors(self) -> int:
        """Of how many anchors, 0 to 2, what is looked at is kept."""
        return 2 if self.predictor == "aligned" else int(self.rule in AS_THE_CROW_FLIES)

    @property
    def fixed_forecast(self) -> Forecast | None:
        """How every residual is carried forward, None where that is found while sampling or was calibrated."""
        if self.predictor == "reuse":
            return REUSE
        return self.forecast


@dataclass(frozen=True)
class TokenSelectorConfig:
    """Which image tokens of a computed block are computed.

    threshold: a token is active when the squared change of its hidden state since it was last computed exceeds this
        fraction of the tokens' mean squared norm. Higher is faster and less faithful; 0 switches the selector off.
    threshold_curve: as in the block cache.
    warmup_evaluations: in so many no token rests. 0: the block cache's, or the default for the model if that is more.
    min_active, max_active: bounds on the active fraction of tokens.
    refresh_interval: a token rests for at most this many evaluations in a row.
    choose: `saliency`, by the threshold; `clusters`: one token of each of so many groups of alike states, all once one
        is due for refresh (ClusCa); `round_robin`: one token in refresh_interval, in turns (TokenCache). The last two
        only ask whether the threshold is 0.
    clusters: how many groups.
    context: what active tokens attend to: `all_tokens`, the static ones through keys and values carried forward from
        when they were computed, or `active_tokens` only, which needs no such memory and is much worse (the paper's).
    """

    threshold: float = 0.0
    min_active: float = 0.0
    max_active: float = 1.0
    refresh_interval: int = 3
    context: str = "all_tokens"
    choose: str = "saliency"
    clusters: int = 16
    threshold_curve: tuple[float, ...] = ()
    warmup_evaluations: int = 0

    def __post_init__(self) -> None:
        _check_number("token_threshold", self.threshold, 0, HIGHEST)
        _check_curve(self.threshold, self.threshold_curve)
        _check_number("min_active", self.min_active, 0, 1)
        _check_number("max_active", self.max_active, 0, 1)
        _check_integer("refresh_interval", self.refresh_interval, 1, 1000)
        _check_choice("context", self.context, CONTEXTS)
        _check_choice("choose", self.choose, CHOICES)
        _check_integer("clusters", self.clusters, 1, 4096)
        _check_integer("warmup_evaluations", self.warmup_evaluations, 0, 1000)
        if self.min_active > self.max_active:
            raise ValueError(
                f"min_active ({self.min_active:g}) is above max_active ({self.max_active:g}); "
                "lower the one or raise the other."
            )

    @property
    def highest_threshold(self) -> float:
        return self.threshold * max(self.threshold_curve, default=1.0)


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

    @property
    def _rules(self) -> str:
        """By what is decided, in words."""
        by_threshold = self.token_selector.choose == "saliency"
        return self.block_cache.rule + ("" if by_threshold else f" and {self.token_selector.choose}")

    def describe(self) -> dict[str, str | float]:
        """The settings that a report repeats."""
        return {
            "rule": self._rules,
            "alpha": self.block_cache.alpha,
            "alpha_quantile": NormalDist().inv_cdf(1 - self.block_cache.alpha),  # for readers without statistics
            "block_threshold": self.block_cache.threshold,
            "token_threshold": self.token_selector.threshold,
            "max_consecutive_skips": self.block_cache.max_consecutive_skips,
            "min_active": self.token_selector.min_active,
            "max_active": self.token_selector.max_active,
            "refresh_interval": self.token_selector.refresh_interval,
            "token_warmup": self.token_selector.warmup_evaluations,
        }

    def completed(self, defaults: Defaults, sigmas: Sequence[float] = ()) -> FastCacheConfig:
        """The same with what was left open filled in.

        sigmas: of the run, where everything is predicted at once. Single blocks and tokens wait for the whole warm-up:
        each needs an error measured, and keys and values bend earlier than what all blocks together add.
        """
        blocks, tokens = self.block_cache, self.token_selector
        # A schedule knows when to begin; without an evaluation there is nothing to predict from.
        warmup = 1 if blocks.rule == "schedule" else defaults.warmup_at(sigmas)
        block_cache = dataclasses.replace(
            blocks,
            warmup_evaluations=blocks.warmup_evaluations or warmup,
            min_steps=blocks.min_steps or defaults.few_steps,
        )
        before = tokens.warmup_evaluations or max(blocks.warmup_evaluations, defaults.warmup_evaluations)
        token_selector = dataclasses.replace(tokens, warmup_evaluations=before)
        return dataclasses.replace(self, block_cache=block_cache, token_selector=token_selector)

    @property
    def off_reason(self) -> str | None:
        """Why these settings can skip nothing, or None."""
        if self.block_cache.highest_threshold == 0 and self.token_selector.highest_threshold == 0:
            return "Switched off: block_threshold and token_threshold (or their curves) are 0. Raise one to skip work."
        return None
