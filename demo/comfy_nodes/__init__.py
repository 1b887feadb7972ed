"""The demo's helper node: words such as "red trousers" -> CONDITIONING for the demo model.

Linked into the development ComfyUI only; the published pack does not contain it.
"""

from __future__ import annotations

import folder_paths
import torch
from comfy_api.latest import ComfyExtension, io
from safetensors import safe_open

WORDS_FILE = "fastcache_demo_words.safetensors"


def read_table(path: str):
    """The embedding table [rows, 64] and {word: (place in the prompt, row)}; rows without a word stand for "none"."""
    with safe_open(path, "pt") as file:
        table, text = file.get_tensor("words"), file.metadata()
    words = {}
    for place, name in enumerate(("classes", "colours")):
        first = int(text[f"first_{name}"])
        words |= {word: (place, first + i) for i, word in enumerate(text[name].split(","))}
    return table, words, [int(text["no_class"]), int(text["no_colour"])]


def parse_prompt(prompt: str, words: dict[str, tuple[int, int]], none: list[int]) -> list[int]:
    """The two rows of one line, such as "red trousers"; a half that is not named gets its "none" row."""
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
            inputs=[io.String.Input("prompts", multiline=True, default="red trousers")],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, prompts: str) -> io.NodeOutput:
        table, words, none = read_table(folder_paths.get_full_path_or_raise("embeddings", WORDS_FILE))
        rows = [parse_prompt(line, words, none) for line in prompts.splitlines() if line.strip()]
        return io.NodeOutput([[table[torch.tensor(rows or [none])], {}]])


class DemoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [FastCacheDemoPrompt]


async def comfy_entrypoint() -> DemoExtension:
    return DemoExtension()
