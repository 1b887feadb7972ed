"""Loaders of the demo's models that take references: Flux, of a size that "Load Diffusion Model" does not know."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import folder_paths
from comfy.ldm.flux.model import Flux, FluxParams
from comfy_api.latest import io

from .clean_references import CleanReferenceFlux

EDIT_FILE = "fastcache_demo_edit.safetensors"
REFERENCES_FILE = "fastcache_demo_references.safetensors"


class DemoFlux(comfy.supported_models.FluxSchnell):
    """Flux without guidance embedding, in the demo's latents: pixels, scaled as the demo's first model has them."""

    latent_format = comfy.latent_formats.HunyuanImage21
    transformer: type[Flux] = Flux

    def get_model(self, state_dict: dict[str, Any], prefix: str = "", device: Any = None) -> comfy.model_base.BaseModel:
        flow = comfy.model_base.ModelType.FLOW
        return comfy.model_base.Flux(self, model_type=flow, device=device, unet_model=self.transformer)


class CleanReferences(DemoFlux):
    """The same with references that are modulated as at timestep zero."""

    transformer = CleanReferenceFlux


def load_flux(file: str, kind: type[DemoFlux]) -> comfy.model_patcher.ModelPatcher:
    """A Flux of any size from weights that have its unet_config in their metadata.

    "Load Diffusion Model" takes it from the weights, as far as they tell, and the rest from the published Flux.
    """
    path = folder_paths.get_full_path_or_raise("diffusion_models", file)
    state, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
    entries = json.loads(metadata["unet_config"])
    known = {field.name for field in dataclasses.fields(FluxParams)}  # ComfyUI's versions differ
    config = kind({name: value for name, value in entries.items() if name in known})
    device, dtypes = comfy.model_management.get_torch_device(), config.supported_inference_dtypes
    dtype = comfy.model_management.unet_dtype(supported_dtypes=dtypes, weight_dtype=comfy.utils.weight_dtype(state))
    config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, device, dtypes))
    model = config.get_model(state, "")
    model.load_model_weights(state, "")
    return comfy.model_patcher.ModelPatcher(model, device, comfy.model_management.unet_offload_device())


class FastCacheDemoEditModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheDemoEditModel",
            display_name="Demo Editing Model (fashion)",
            category="fastcache demo",
            description="A small Flux Kontext: takes a picture as reference latent, and a prompt with a new colour.",
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(load_flux(EDIT_FILE, DemoFlux))


class FastCacheDemoReferencesModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheDemoReferencesModel",
            display_name="Demo Model with Two References (fashion)",
            category="fastcache demo",
            description="Takes two pictures as reference latents, both without noise, and the word for the first one's "
            "piece of clothing, which it puts into the second one's colour.",
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(load_flux(REFERENCES_FILE, CleanReferences))
