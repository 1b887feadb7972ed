"""Hunyuan3D 2.0: Flux's blocks on a set of latent tokens, which has no grid."""

from dataclasses import replace

from .flux import FLUX
from .grids import one_row

HUNYUAN3D = replace(
    FLUX, name="hunyuan3d", classes=("comfy.ldm.hunyuan3d.model.Hunyuan3Dv2",), grid=one_row, medium="3d"
)
