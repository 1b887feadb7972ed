"""Chroma and Chroma Radiance: Flux's blocks with modulations handed in from outside."""

from dataclasses import replace

from .flux import FLUX

CHROMA = replace(FLUX, name="chroma", classes=("comfy.ldm.chroma.model.Chroma",))
