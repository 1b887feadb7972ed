"""The inpainting workload: the left half of a picture stays, the right half is sampled anew in another colour."""

from __future__ import annotations

from typing import Any

from demo.graphs import PROMPTS, STEPS, Graph, demo_graph, ksampler, node

TRAINING_PROMPTS = (
    "blue dress",
    "red bag",
    "green coat",
    "cyan trousers",
    "yellow t-shirt",
    "orange pullover",
    "magenta boot",
    "white sneaker",
)
FRAMES = 1  # pictures a prompt
SIZE, BASE_SEED = 32, 4242


def graph(seed: int, prompts: tuple[str, ...] = PROMPTS, steps: int = STEPS, **sampler: Any) -> Graph:
    """One picture a prompt, a colour and a piece of clothing; sampler: other KSampler inputs by name.

    Sampler "base" makes the pictures that are fixed on the left, the same for every seed; "sample" fills in the right.
    """
    base = demo_graph(BASE_SEED, prompts=tuple(map(in_another_colour, prompts)))
    graph = {name: entry for name, entry in base.items() if name not in ("positive", "sample")}
    graph["base_positive"] = base["positive"]
    graph["base"] = {**base["sample"], "inputs": base["sample"]["inputs"] | {"positive": ["base_positive", 0]}}
    graph["positive"] = node("FastCacheDemoPrompt", prompts="\n".join(prompts))
    graph["fixed"] = node("SolidMask", value=0.0, width=SIZE, height=SIZE)
    graph["new"] = node("SolidMask", value=1.0, width=SIZE // 2, height=SIZE)
    halves = {"destination": ["fixed", 0], "source": ["new", 0]}
    graph["mask"] = node("MaskComposite", **halves, x=SIZE // 2, y=0, operation="add")
    graph["masked"] = node("SetLatentNoiseMask", samples=["base", 0], mask=["mask", 0])
    graph["sample"] = ksampler(
        seed,
        steps,
        sampler,
        model=["shift", 0],
        positive=["positive", 0],
        negative=["negative", 0],
        latent_image=["masked", 0],
    )
    return graph


def in_another_colour(prompt: str) -> str:
    """The same piece of clothing in the next of the demo's colours."""
    colour, piece = prompt.split()
    colours = [prompt.split()[0] for prompt in PROMPTS]
    return f"{colours[(colours.index(colour) + 1) % len(colours)]} {piece}"
