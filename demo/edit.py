"""The editing workload: pictures as reference tokens, sampled anew in another colour, as Flux Kontext does it."""

from __future__ import annotations

from typing import Any

from demo.graphs import PROMPTS, STEPS, Graph, demo_graph, ksampler, node
from demo.inpaint import TRAINING_PROMPTS, in_another_colour

__all__ = ["FRAMES", "PROMPTS", "TRAINING_PROMPTS", "graph"]

FRAMES, CFG = 1, 2.0  # pictures a prompt; guidance
REFERENCE_SEED = 4343


def graph(seed: int, prompts: tuple[str, ...] = PROMPTS, steps: int = STEPS, **sampler: Any) -> Graph:
    """One picture a prompt, a colour and a piece of clothing; sampler: other KSampler inputs by name.

    Sampler "reference" makes a picture of that piece in another colour, the same for every seed; "sample", with the
    editing model, puts it into the prompt's colour.
    """
    demo = demo_graph(REFERENCE_SEED, prompts=tuple(map(in_another_colour, prompts)))
    graph = {name: entry for name, entry in demo.items() if name not in ("positive", "sample")}
    graph["piece"] = demo["positive"]
    graph["reference"] = {**demo["sample"], "inputs": demo["sample"]["inputs"] | {"positive": ["piece", 0]}}
    graph["words"] = node("FastCacheDemoPrompt", prompts="\n".join(prompts))
    graph["positive"] = node("ReferenceLatent", conditioning=["words", 0], latent=["reference", 0])
    graph["keep"] = node("ReferenceLatent", conditioning=["negative", 0], latent=["reference", 0])
    graph["load_edit"] = node("FastCacheDemoEditModel")
    graph["sample"] = ksampler(
        seed,
        steps,
        sampler,
        CFG,
        model=["load_edit", 0],
        positive=["positive", 0],
        negative=["keep", 0],
        latent_image=["latent", 0],
    )
    return graph
