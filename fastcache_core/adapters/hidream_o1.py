"""HiDream-O1: a language model's layers on text, image and reference tokens, which are not told apart there.

Where its blocks are patched, ComfyUI does not keep the prompt's keys and values from step to step.
"""

from .family import BlockList, Family
from .grids import untold

BLOCKS = BlockList("language_model.layers", ("x",), joint=True, key="double_block")


HIDREAM_O1 = Family(
    "hidream_o1",
    ("comfy.ldm.hidream_o1.model.HiDreamO1Transformer",),
    (BLOCKS,),
    untold,
    no_tokens="HiDream-O1's attention is causal up to a place in its sequence",
)
