"""Published methods as settings of the one loop (engine.py): a rule, a predictor, a level, and what they look up.

`settings(name, strength)` is all there is to use; docs/methods.md tells of every method in words. Adding one: an entry
in PRESETS, and a test against its published formula.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .config import BlockCacheConfig, TokenSelectorConfig
from .masks import NEEDED_CURVES
from .predictors import REUSE, Forecast

OFF = TokenSelectorConfig()
FIRST, TAYLOR = Forecast(1.0), Forecast(1.0, 1.0, taylor=True)  # orders of Taylor's series


@dataclass(frozen=True)
class Preset:
    """One method. paper: where it is published. blocks, tokens: its settings, with the published defaults. knob: which
    of them `strength` takes the place of. differs: in what way this is not the original, in a sentence."""

    paper: str
    knob: str
    differs: str
    blocks: BlockCacheConfig
    tokens: TokenSelectorConfig = OFF

    @property
    def of_tokens(self) -> bool:
        """Whether the knob is the token selector's."""
        return self.tokens.threshold > 0 and self.blocks.threshold == 0

    @property
    def published(self) -> float:
        """The knob's value as published."""
        return getattr(self.tokens if self.of_tokens else self.blocks, self.knob)

    @property
    def needs(self) -> str | None:
        """The part of a profile without which nothing is skipped, or None."""
        if self.blocks.rule == "schedule":
            return "schedule" if self.blocks.mask == "profile" else "changes"
        if self.blocks.rule in NEEDED_CURVES:
            return "curves"
        return None


def _published(**settings) -> BlockCacheConfig:
    """Settings of a method that corrects nothing afterwards."""
    return BlockCacheConfig(corrector=False, along="sigma", **settings)


def _masked(mask: str, threshold: float = 1.0, level: str = "sublayer", **others) -> BlockCacheConfig:
    """Reuse where a mask made of the change table says so."""
    others = {"predictor": "reuse", **others}
    return _published(threshold=threshold, rule="schedule", mask=mask, level=level, warmup_evaluations=1, **others)


def _adaptive(rule: str, threshold: float, **others) -> BlockCacheConfig:
    """Reuse of the whole stack while a measure is within a threshold."""
    return _published(
        threshold=threshold, rule=rule, **{"predictor": "reuse", "level": "stack", "norm": "l1", **others}
    )


def _interval(interval: int, **others) -> BlockCacheConfig:
    """One evaluation in `interval` is computed."""
    return _published(rule="interval", interval=interval, **{"warmup_evaluations": 1, **others})


PRESETS: dict[str, Preset] = {
    "FastCache": Preset(
        "arXiv 2505.20353", "threshold",
        "Blocks are judged by measured errors of predicting them, and residuals are extrapolated.",
        BlockCacheConfig(),
    ),
    "FastCache (paper)": Preset(
        "arXiv 2505.20353", "alpha",
        "The linear maps are fitted (by a profile, else while sampling), which no release does; the test is the "
        "paper's, which nearly every change passes.",
        _published(rule="paper_chi_square", alpha=0.05, predictor="linear", level="block", forecast=REUSE,
                         warmup_evaluations=2),
        TokenSelectorConfig(threshold=0.1, context="active_tokens", warmup_evaluations=2),
    ),
    "FORA": Preset(
        "arXiv 2407.01425", "interval",
        "Counted from the first evaluation; the original counts back from the last.",
        _interval(3, predictor="reuse", level="sublayer"),
    ),
    "Learning-to-Cache": Preset(
        "arXiv 2406.01733", "threshold",
        "The router is learned from a profile's change table in place of gradients.",
        _masked("learning_to_cache", 0.1),
    ),
    "SmoothCache": Preset(
        "arXiv 2411.10510", "threshold",
        "The same greedy search, on a profile's change table.",
        _masked("smoothcache", 0.18),
    ),
    "InvarDiff": Preset(
        "arXiv 2512.05134", "threshold",
        "Changes are recorded once; the original records them again with caching on.",
        _masked("invardiff", 0.7),
    ),
    "Block Caching": Preset(
        "arXiv 2312.03209", "threshold",
        "Scale and shift per channel are fitted in closed form, by a profile or while sampling, and not distilled.",
        _masked("block_caching", 0.3, "block", predictor="linear", forecast=REUSE),
    ),
    "ProCache": Preset(
        "arXiv 2512.17298", "interval",
        "All patterns are judged by recorded changes; the original samples some, judges pictures, and has selective "
        "steps, which compute deep blocks only.",
        _masked("procache", level="stack", interval=3, forecast=FIRST, predictor="extrapolate"),
    ),
    "EB-Cache": Preset(
        "arXiv 2503.07120", "threshold",
        "The table is made of recorded changes; outputs are not scaled against exposure bias.",
        _masked("eb_cache", 0.3),
    ),
    "Increment-calibrated": Preset(
        "arXiv 2505.05829", "interval",
        "Increments are corrected by a profile's low-rank maps per block in place of truncated weights per layer; "
        "without a profile by factors per channel, found while sampling.",
        _interval(2, predictor="linear", level="block", forecast=REUSE),
    ),
    "GOC": Preset(
        "arXiv 2503.05156", "interval",
        "The gradient step is taken at every predicted evaluation; the original lists the steps that take it.",
        _interval(2, predictor="extrapolate", level="sublayer", forecast=Forecast(1.2, in_sigma=False),
                  warmup_evaluations=2),
    ),
    "TaylorSeer": Preset(
        "arXiv 2503.06923", "interval",
        "Differences are divided by sigma's in place of step numbers.",
        _interval(4, predictor="extrapolate", level="sublayer", forecast=TAYLOR, warmup_evaluations=3),
    ),
    "First-Block Cache": Preset(
        "ParaAttention", "threshold",
        "The first block's work is compared per sample, and the sample that changed most counts.",
        _adaptive("first_block_distance", 0.12, warmup_evaluations=1),
    ),
    "DiCache": Preset(
        "arXiv 2508.17356", "threshold",
        "Changes are those of the first block's work in place of its output.",
        _adaptive("first_block", 0.4, predictor="aligned", warmup_evaluations=2),
    ),
    "TeaCache": Preset(
        "arXiv 2411.19108", "threshold",
        "The state that enters the first block is looked at, not modulated; the polynomial is the profile's.",
        _adaptive("fitted_change", 0.25, warmup_evaluations=1),
    ),
    "MagCache": Preset(
        "arXiv 2506.09045", "threshold",
        "Ratios are the profile's, interpolated in sigma.",
        _adaptive("magnitude", 0.12, warmup_evaluations=3),
    ),
    "EasyCache": Preset(
        "arXiv 2507.02860", "threshold",
        "Residuals of the whole model in place of its outputs, relative changes, and a rate over all that was skipped.",
        _adaptive("rate", 0.2, level="model_output", norm="l2", warmup_evaluations=2),
    ),
    "SenCache": Preset(
        "arXiv 2602.24208", "threshold",
        "Sensitivities are fitted to recorded neighbours in place of finite differences, and are relative; one "
        "threshold holds throughout, where the original begins with a stricter one.",
        _adaptive("sensitivity", 0.1, norm="l2", warmup_evaluations=3),
    ),
    "LazyDiT": Preset(
        "arXiv 2412.12444", "threshold",
        "A threshold on how far the state moved in place of a trained linear gate.",
        _adaptive("distance", 0.1, level="sublayer", norm="l2", warmup_evaluations=1),
    ),
    "ClusCa": Preset(
        "arXiv 2509.10312", "refresh_interval",
        "Clusters are of entry states, the token that waited most is computed, and no others follow it.",
        _published(threshold=0.0, predictor="extrapolate", forecast=FIRST),
        TokenSelectorConfig(threshold=1.0, choose="clusters", clusters=16, refresh_interval=4),
    ),
    "TokenCache": Preset(
        "arXiv 2409.18523", "refresh_interval",
        "Tokens take turns; no trained predictor tells which.",
        _published(threshold=0.0, predictor="reuse"),
        TokenSelectorConfig(threshold=1.0, choose="round_robin", refresh_interval=4),
    ),
}  # fmt: skip

# Methods that are no settings of this loop, and why.
NOT_APPLICABLE = {
    "DeepCache": "It reuses what a U-Net's skip connections carry around its deep half, and transformers have none.",
    "LLMCache": "It reuses layers of language models across prompts that mean the same; there is no denoising in it.",
    "CacheQuant": "Its half that is quantisation is the model loader's business; the other half, schedules by dynamic "
    "programming and a correction per channel, is what a profile holds.",
    "DyDiT": "Its weights are others, trained to leave out heads and channels: a model to load, no way to sample one.",
    "DBPrune": "It decides at each block by the state that enters it, and waits for the device at every block; here "
    "one decision is taken at each evaluation. The rule distance at the level block comes closest.",
    "AdaCorrection": "It blends what is cached with what is freshly computed, so that everything is always computed.",
}


def settings(name: str, strength: float = 0.0) -> tuple[BlockCacheConfig, TokenSelectorConfig]:
    """A method's settings; strength takes the place of its knob, 0 leaves it as published. ValueError: no such method,
    or no such value of its knob."""
    if name not in PRESETS:
        raise ValueError(f"There is no method {name!r}; choose one of: {', '.join(PRESETS)}.")
    preset = PRESETS[name]
    if not strength:
        return preset.blocks, preset.tokens
    value = int(strength) if isinstance(preset.published, int) and strength == int(strength) else strength
    if preset.of_tokens:
        return preset.blocks, dataclasses.replace(preset.tokens, **{preset.knob: value})
    return dataclasses.replace(preset.blocks, **{preset.knob: value}), preset.tokens
