"""The demo's helper nodes: words such as "red trousers" -> CONDITIONING for its models, the editing model's loader, and
latents of the video model -> IMAGE.

Linked into the development ComfyUI only; the published pack does not contain them.
"""

from __future__ import annotations

import dataclasses
import json

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import folder_paths
import torch
from comfy.ldm.flux.model import FluxParams
from comfy_api.latest import ComfyExtension, io
from safetensors import safe_open

from .video import FastCacheDemoFrames

WORDS_FILE = "fastcache_demo_words.safetensors"
EDIT_FILE = "fastcache_demo_edit.safetensors"


def read_table(path: str) -> tuple[torch.Tensor, dict[str, tuple[int, int]], list[int]]:
    """The embedding table [rows, width], {word: (place in the prompt, row)}, and the rows that stand for no word."""
    with safe_open(path, "pt") as file:
        table, text = file.get_tensor("words"), file.metadata()
    kinds = sorted((int(first), key.removeprefix("first_")) for key, first in text.items() if key.startswith("first_"))
    words, none = {}, []
    for place, (first, kind) in enumerate(kinds):
        names = text[kind].split(",")
        words |= {word: (place, first + i) for i, word in enumerate(names)}
        none.append(first + len(names))
    return table, words, none


def parse_prompt(prompt: str, words: dict[str, tuple[int, int]], none: list[int]) -> list[int]:
    """The rows of one line, such as "red trousers"; a kind of word that is not named gets its "none" row."""
    rows = list(none)
    for word in prompt.lower().replace(",", " ").split():
        if word not in words:
            raise ValueError(f"The demo model does not know the word {word!r}. It knows: {', '.join(words)}.")
        place, row = words[word]
        rows[place] = row
    return rows


class FastCacheDemoPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheDemoPrompt",
            display_name="Demo Prompt (fashion)",
            category="fastcache demo",
            description="One image a line: a colour and a piece of clothing. Empty: no condition.",
            inputs=[
                io.String.Input("prompts", multiline=True, default="red trousers"),
                io.String.Input(
                    "words", default=WORDS_FILE, optional=True, tooltip="Embedding table of the words, a file."
                ),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, prompts: str, words: str = WORDS_FILE) -> io.NodeOutput:
        table, known, none = read_table(folder_paths.get_full_path_or_raise("embeddings", words))
        rows = [parse_prompt(line, known, none) for line in prompts.splitlines() if line.strip()]
        # ComfyUI 0.3.x looks up what text encoders add to this, for Flux; the models take none.
        return io.NodeOutput([[table[torch.tensor(rows or [none])], {"pooled_output": None}]])


class DemoFlux(comfy.supported_models.FluxSchnell):
    """Flux without guidance embedding, in the demo's latents: pixels, scaled as the demo's first model has them."""

    latent_format = comfy.latent_formats.HunyuanImage21


def load_flux(path: str) -> comfy.model_patcher.ModelPatcher:
    """A Flux of any size from weights that have its unet_config in their metadata.

    "Load Diffusion Model" takes it from the weights, as far as they tell, and the rest from the published Flux.
    """
    state, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
    entries = json.loads(metadata["unet_config"])
    known = {field.name for field in dataclasses.fields(FluxParams)}  # ComfyUI's versions differ
    config = DemoFlux({name: value for name, value in entries.items() if name in known})
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
        return io.NodeOutput(load_flux(folder_paths.get_full_path_or_raise("diffusion_models", EDIT_FILE)))


class DemoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [FastCacheDemoPrompt, FastCacheDemoEditModel, FastCacheDemoFrames]


async def comfy_entrypoint() -> DemoExtension:
    return DemoExtension()
