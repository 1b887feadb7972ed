"""The demo's helper nodes: words such as "red trousers" -> CONDITIONING for its models, loaders of the models that take
references, and latents of the video model -> IMAGE.

Linked into the development ComfyUI only; the published pack does not contain them.
"""

from __future__ import annotations

import folder_paths
import torch
from comfy_api.latest import ComfyExtension, io
from safetensors import safe_open

from .loaders import FastCacheDemoEditModel, FastCacheDemoReferencesModel
from .video import FastCacheDemoFrames

WORDS_FILE = "fastcache_demo_words.safetensors"


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


class DemoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [FastCacheDemoPrompt, FastCacheDemoEditModel, FastCacheDemoReferencesModel, FastCacheDemoFrames]


async def comfy_entrypoint() -> DemoExtension:
    return DemoExtension()
