"""FastCacheTokenSelector: everything about which tokens of a computed block are computed."""

from __future__ import annotations

from comfy_api.latest import io

from ..fastcache_core.config import CONTEXTS, TokenSelectorConfig
from .checks import complaint
from .curve import THRESHOLD_CURVE, curve_of

TokenSelectorSocket = io.Custom("FASTCACHE_TOKEN_SELECTOR")
DEFAULTS = TokenSelectorConfig()


class FastCacheTokenSelector(io.ComfyNode):
    """Settings in, FASTCACHE_TOKEN_SELECTOR out, for FastCache's socket of that name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheTokenSelector",
            display_name="FastCache Token Selector",
            category="model/patch",
            description="Which tokens of a computed block are computed and which are predicted. Takes the place of "
            "FastCache's token_threshold.",
            is_experimental=True,
            inputs=[
                io.Float.Input(
                    "threshold",
                    default=0.0001,
                    min=0.0,
                    max=10.0,
                    step=0.0001,
                    round=0.0001,
                    tooltip="Tokens whose squared change is below this part of the mean are predicted. 0: token "
                    "selector off; higher: faster, less faithful.",
                ),
                io.Float.Input(
                    "min_active",
                    default=DEFAULTS.min_active,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="At least this part of the tokens is computed. 0: one token; 1: all of them.",
                ),
                io.Float.Input(
                    "max_active",
                    default=DEFAULTS.max_active,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="At most this part of the tokens is computed, those that changed most. 1: as many as "
                    "exceed the threshold; lower: faster, less faithful.",
                ),
                io.Int.Input(
                    "refresh_interval",
                    default=DEFAULTS.refresh_interval,
                    min=1,
                    max=1000,
                    tooltip="A token rests for at most so many evaluations in a row. 1: every other one at most; "
                    "higher: faster.",
                ),
                io.Combo.Input(
                    "context",
                    options=list(CONTEXTS),
                    default=DEFAULTS.context,
                    tooltip="What computed tokens attend to. all_tokens: the others too, carried forward. "
                    "active_tokens: each other only, as in the paper; less memory, much less faithful.",
                ),
                THRESHOLD_CURVE,
            ],
            outputs=[
                TokenSelectorSocket.Output(display_name="token_selector", tooltip="For FastCache's token_selector.")
            ],  # fmt: skip
        )

    @classmethod
    def validate_inputs(cls, threshold, min_active, max_active, refresh_interval, context) -> bool | str:
        return complaint(
            TokenSelectorConfig,
            threshold=threshold,
            min_active=min_active,
            max_active=max_active,
            refresh_interval=refresh_interval,
            context=context,
        )

    @classmethod
    def execute(cls, threshold_curve=None, **widgets) -> io.NodeOutput:
        return io.NodeOutput(TokenSelectorConfig(**widgets, threshold_curve=curve_of(threshold_curve)))
