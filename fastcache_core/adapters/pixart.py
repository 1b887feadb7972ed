"""PixArt alpha and sigma: text by cross-attention only."""

from torch import nn

from .family import BlockList, Family

BLOCKS = BlockList("blocks", ("x",))


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, shape[-2] // model.patch_size, shape[-1] // model.patch_size


PIXART = Family("pixart", ("comfy.ldm.pixart.pixartms.PixArtMS",), (BLOCKS,), grid)
