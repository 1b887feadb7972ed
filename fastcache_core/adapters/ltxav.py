"""LTX-2: video and sound, which attend to themselves, to the text and to each other."""

from torch import nn

from ..calls import OTHERS, STREAM
from .family import Arguments, BlockList, Family

# Video to itself and to text, sound to itself and to text, video to sound, sound to video.
ATTENDS = (STREAM, OTHERS, OTHERS, OTHERS, OTHERS, STREAM)
BLOCKS = BlockList("transformer_blocks", ("video", "audio"), key="double_block", packed="img", attends=ATTENDS)
PARTS = ("run_vx", "run_ax", "a2v_cross_attn", "v2a_cross_attn")
MODULATIONS = ("v_timestep", "v_cross_scale_shift_timestep", "v_cross_gate_timestep")


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Of video that is sampled alone; with sound, both are in one row, whose shape does not tell."""
    return shape[-3:] if len(shape) == 5 else (1, 1, 0)


def no_tokens(args: Arguments) -> str | None:
    options = args["transformer_options"]
    if options.get("stg_skip_self_attn") or not all(options.get(part, True) for part in PARTS):
        return "parts of these blocks are left out, so that their attention calls cannot be told apart"
    if any(getattr(args.get(name), "num_frames", 1) > 1 for name in MODULATIONS):
        return "LTX-2's frames have modulations of their own here"
    return None


LTXAV = Family(
    "ltxav",
    ("comfy.ldm.lightricks.av_model.LTXAVModel",),
    (BLOCKS,),
    grid,
    per_token={},
    per_stream_token={"v_pe": 1, "v_cross_pe": 1},
    ungathered=("self_attention_mask",),
    no_tokens=no_tokens,
    joined=False,  # the head reads the sound too
    medium="video",
)
