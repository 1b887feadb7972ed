"""HiDream-O1: a language model's layers on text, image and reference tokens, which are not told apart there.

Where its blocks are patched, ComfyUI does not keep the prompt's keys and values from step to step.
"""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("language_model.layers", ("x",), joint=True, key="double_block")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, 1, 0  # one row of all tokens


HIDREAM_O1 = Family(
    "hidream_o1",
    ("comfy.ldm.hidream_o1.model.HiDreamO1Transformer",),
    (BLOCKS,),
    grid,
    no_tokens="HiDream-O1's attention is causal up to a place in its sequence",
)
