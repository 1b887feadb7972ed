"""FastCache's engine: which blocks and tokens of a diffusion transformer to compute, and what stands in for the rest.

Needs torch, numpy, safetensors and einops only; knows nothing of ComfyUI. Start reading at `engine.py`.
"""

from .config import BlockCacheConfig, FastCacheConfig, TokenSelectorConfig
from .engine import Run
from .modules import cached_blocks

__all__ = ["BlockCacheConfig", "FastCacheConfig", "Run", "TokenSelectorConfig", "cached_blocks"]
