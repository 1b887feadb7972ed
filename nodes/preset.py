"""FastCachePreset: published methods by name, as settings for FastCache."""

from __future__ import annotations

from comfy_api.latest import io

from ..fastcache_core.config import BlockCacheConfig, TokenSelectorConfig
from ..fastcache_core.presets import PRESETS, settings
from .block_cache import BlockCacheSocket
from .checks import complaint
from .token_selector import TokenSelectorSocket


def read_widgets(method: str, strength: float) -> tuple[BlockCacheConfig, TokenSelectorConfig]:
    """Widget values as settings; ValueError, which names the widget that is wrong."""
    try:
        return settings(method, strength)
    except ValueError as problem:
        if method not in PRESETS:
            raise
        raise ValueError(f"strength {strength:g} is none for {method}: {problem} 0 is as published.") from problem


class FastCachePreset(io.ComfyNode):
    """A method's name in, FASTCACHE_BLOCK_CACHE and FASTCACHE_TOKEN_SELECTOR out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCachePreset",
            display_name="FastCache Preset",
            category="model/patch",
            description="A published caching method as settings. Connect both outputs to FastCache, and a profile "
            "where the method needs one.",
            is_experimental=True,
            inputs=[
                io.Combo.Input(
                    "method",
                    options=list(PRESETS),
                    default="FastCache",
                    tooltip="Which method decides what is computed, and what stands in for the rest. Those that follow "
                    "recorded changes or curves need a profile from FastCache Calibrate, which FastCache asks for.",
                ),
                io.Float.Input(
                    "strength",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    round=0.001,
                    tooltip="The method's own knob: an interval in evaluations (FORA, TaylorSeer, GOC, ProCache, "
                    "Increment-calibrated, ClusCa, TokenCache), alpha of FastCache (paper), else a threshold. 0: as "
                    "published; higher: faster, less faithful, but for alpha.",
                ),
            ],
            outputs=[
                BlockCacheSocket.Output(display_name="block_cache", tooltip="For FastCache's block_cache."),
                TokenSelectorSocket.Output(display_name="token_selector", tooltip="For FastCache's token_selector."),
            ],
        )

    @classmethod
    def validate_inputs(cls, method, strength) -> bool | str:
        return complaint(read_widgets, method=method, strength=strength)

    @classmethod
    def execute(cls, method, strength) -> io.NodeOutput:
        return io.NodeOutput(*read_widgets(method, strength))
