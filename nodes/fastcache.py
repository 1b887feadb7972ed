"""FastCache: the node that most people need."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..fastcache_core.config import CACHE_DEVICES, BlockCacheConfig, FastCacheConfig, TokenSelectorConfig
from ..fastcache_core.masks import what_is_missing
from ..fastcache_core.profile import Profile
from .block_cache import BlockCacheSocket
from .checks import complaint
from .fit import misfit
from .host import apply_fastcache
from .profiles import ProfileSocket
from .token_selector import TokenSelectorSocket

DEFAULTS = FastCacheConfig()
SCHEDULE = "schedule"


def read_widgets(
    block_threshold: float,
    token_threshold: float,
    start_percent: float,
    end_percent: float,
    max_consecutive_skips: int,
    cache_device: str,
    block_cache: BlockCacheConfig | None = None,
    token_selector: TokenSelectorConfig | None = None,
    profile: Profile | None = None,
) -> FastCacheConfig:
    """Widget values as settings, connected ones in place of what they refine; ValueError when one is invalid."""
    scheduled = profile is not None and profile.schedule is not None
    rule = SCHEDULE if scheduled else DEFAULTS.block_cache.rule
    blocks = block_cache or BlockCacheConfig(threshold=block_threshold, rule=rule)
    missing = what_is_missing(blocks, profile)
    if missing is not None:
        raise ValueError(missing)
    return FastCacheConfig(
        replace(blocks, max_consecutive_skips=max_consecutive_skips),
        token_selector or TokenSelectorConfig(threshold=token_threshold),
        start_percent,
        end_percent,
        cache_device,
    )


class FastCache(io.ComfyNode):
    """MODEL in, MODEL out: skips blocks and tokens while it samples."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCache",
            display_name="FastCache",
            category="model/patch",
            description="Samples faster by predicting blocks and tokens whose work hardly changes from step to step.",
            is_experimental=True,
            inputs=[
                io.Model.Input("model", tooltip="A diffusion transformer, after its LoRAs."),
                io.Float.Input(
                    "block_threshold",
                    default=DEFAULTS.block_cache.threshold,
                    min=0.0,
                    max=10.0,
                    step=0.005,
                    round=0.001,
                    tooltip="Relative error of the model's work up to which it is predicted instead of computed, as "
                    "expected from errors measured while sampling. 0: block cache off; higher: faster, less faithful. "
                    "Lower it first when details differ from the uncached image.",
                ),
                io.Float.Input(
                    "token_threshold",
                    default=DEFAULTS.token_selector.threshold,
                    min=0.0,
                    max=10.0,
                    step=0.0001,
                    round=0.0001,
                    tooltip="Inside computed blocks, tokens whose squared change is below this part of the mean are "
                    "predicted. 0: token selector off; higher: faster, less faithful. Only for what stands still in "
                    "large parts; compare with block_threshold alone.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=DEFAULTS.start_percent,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Nothing is skipped before this part of the schedule. 0: skips from its start; higher: the "
                    "composition stays closer to the uncached one.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=DEFAULTS.end_percent,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Nothing is skipped after this part of the schedule. 1: skips to its end; lower: details "
                    "stay closer to the uncached ones.",
                ),
                io.Int.Input(
                    "max_consecutive_skips",
                    default=DEFAULTS.block_cache.max_consecutive_skips,
                    min=1,
                    max=1000,
                    tooltip="Compute at least once after this many predicted evaluations. 1: at most every other one "
                    "is predicted; higher: faster, less faithful. The rule significance works up to it, at most "
                    "doubling from one. A profile's schedule and the rule interval say it themselves.",
                ),
                io.Combo.Input(
                    "cache_device",
                    options=list(CACHE_DEVICES),
                    default=DEFAULTS.cache_device,
                    tooltip="main: keep what is remembered where the model runs. offload: keep it in system memory, "
                    "slower, for when video memory is short.",
                ),
                BlockCacheSocket.Input(
                    "block_cache",
                    optional=True,
                    tooltip="From FastCache Block Cache; takes the place of block_threshold.",
                ),
                TokenSelectorSocket.Input(
                    "token_selector",
                    optional=True,
                    tooltip="From FastCache Token Selector; takes the place of token_threshold.",
                ),
                ProfileSocket.Input(
                    "profile",
                    optional=True,
                    tooltip="What was learned about this model, from FastCache Calibrate or FastCache Load Profile. "
                    "Unless a block_cache says otherwise, its schedule is followed; of block_threshold then only "
                    "counts whether it is 0.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with FastCache. Bypass the node to compare.")],
            hidden=[io.Hidden.unique_id],  # by which previews that look while it samples are found
        )

    @classmethod
    def validate_inputs(
        cls, block_threshold, token_threshold, start_percent, end_percent, max_consecutive_skips, cache_device
    ) -> bool | str:
        return complaint(
            read_widgets,
            block_threshold=block_threshold,
            token_threshold=token_threshold,
            start_percent=start_percent,
            end_percent=end_percent,
            max_consecutive_skips=max_consecutive_skips,
            cache_device=cache_device,
        )

    @classmethod
    def execute(cls, model, profile=None, **widgets) -> io.NodeOutput:
        why_not = None if profile is None else misfit(profile, model.model.diffusion_model)
        if why_not:
            raise ValueError(why_not)
        config = read_widgets(**widgets, profile=profile)
        return io.NodeOutput(apply_fastcache(model, config, cls.hidden.unique_id, profile))
