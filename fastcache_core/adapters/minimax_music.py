"""MiniMax Music: sound behind a token of the timestep. What is long is cut into windows, all in one call."""

from torch import nn

from .family import BlockList, Family, last

BLOCKS = BlockList("diffusion_transformer.transformer.layers", ("x",))


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, 1, shape[-1]


MINIMAX_MUSIC = Family(
    "minimax_music",
    ("comfy.ldm.minimax_music.dit.MiniMaxMusic3DiT",),
    (BLOCKS,),
    grid,
    last,
    no_tokens="these blocks do not let the keys and values of their attention be kept",
    medium="audio",
)
