"""MiniMax Music: sound behind a token of the timestep. What is long is cut into windows, all in one call."""

from .family import BlockList, Family, last
from .grids import one_row

BLOCKS = BlockList("diffusion_transformer.transformer.layers", ("x",))


MINIMAX_MUSIC = Family(
    "minimax_music",
    ("comfy.ldm.minimax_music.dit.MiniMaxMusic3DiT",),
    (BLOCKS,),
    one_row,
    last,
    no_tokens="these blocks do not let the keys and values of their attention be kept",
    medium="audio",
)
