"""ACE-Step and ACE-Step 1.5: sound in one row of tokens, text and lyrics by cross-attention."""

from torch import nn

from .family import BlockList, Family
from .grids import padded_grid
from .sublayers import ATTENTION, CROSS_ATTENTION, MLP, SubLayer

SUBLAYERS_15 = (SubLayer("self_attn", ATTENTION), SubLayer("cross_attn", CROSS_ATTENTION), SubLayer("mlp", MLP))


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, model.patch_size[-1:])


def grid_15(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return padded_grid(shape, [model.decoder.patch_size])


ACE_STEP = Family(
    "ace_step",
    ("comfy.ldm.ace.model.ACEStepTransformer2DModel",),
    (BlockList("transformer_blocks", ("hidden_states",)),),
    grid,
    no_tokens="ACE-Step's blocks have convolutions over the tokens",
    medium="audio",
)
ACE_STEP_15 = Family(
    "ace_step_15",
    ("comfy.ldm.ace.ace_step15.AceStepConditionGenerationModel",),
    (BlockList("decoder.layers", ("hidden_states",), sublayers=SUBLAYERS_15),),
    grid_15,
    no_tokens="the attention of ACE-Step 1.5 is not given ComfyUI's options",
    medium="audio",
)
