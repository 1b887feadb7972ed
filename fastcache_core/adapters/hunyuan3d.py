"""Hunyuan3D 2.0: Flux's blocks on a set of latent tokens, which has no grid."""

from dataclasses import replace

from torch import nn

from .flux import FLUX


def grid(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, 1, shape[-1]


HUNYUAN3D = replace(FLUX, name="hunyuan3d", classes=("comfy.ldm.hunyuan3d.model.Hunyuan3Dv2",), grid=grid, medium="3d")
