"""Mage-Flow: Qwen-Image's blocks on latents that are not patched."""

from dataclasses import replace

from .qwen_image import QWEN_IMAGE

MAGE_FLOW = replace(QWEN_IMAGE, name="mage_flow", classes=("comfy.ldm.mage_flow.model.MageFlowTransformer2DModel",))
