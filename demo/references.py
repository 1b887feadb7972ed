"""The workload with two references without noise, as Flux.2 has them: the piece of one in the colour of the other."""

from __future__ import annotations

from typing import Any

from demo.graphs import PROMPTS, STEPS, Graph, demo_graph, ksampler, node
from demo.inpaint import TRAINING_PROMPTS, in_another_colour

__all__ = ["FRAMES", "PROMPTS", "TRAINING_PROMPTS", "graph"]

FRAMES, CFG = 1, 2.0  # pictures a prompt; guidance
REFERENCE_SEEDS = 4444, 4545


def graph(seed: int, prompts: tuple[str, ...] = PROMPTS, steps: int = STEPS, **sampler: Any) -> Graph:
    """One picture a prompt, a colour and a piece of clothing; sampler: other KSampler inputs by name.

    Samplers "piece" and "colour" make the references, the same for every seed: that piece in another colour, and
    another piece in that colour. "sample" is told the piece only, and takes the colour from its reference.
    """
    shown = {"piece": tuple(map(in_another_colour, prompts)), "colour": of_other_pieces(prompts)}
    demo = demo_graph(0, prompts=prompts)
    graph = {name: entry for name, entry in demo.items() if name not in ("positive", "sample")}
    conditionings = {"positive": without_colour(prompts), "negative": ("",)}
    for name, words in conditionings.items():
        graph[name] = node("FastCacheDemoPrompt", prompts="\n".join(words))
    with_references = {name: name for name in conditionings}
    for (name, words), reference_seed in zip(shown.items(), REFERENCE_SEEDS, strict=True):
        graph[f"{name}_words"] = node("FastCacheDemoPrompt", prompts="\n".join(words))
        links = demo["sample"]["inputs"] | {"positive": [f"{name}_words", 0], "seed": reference_seed}
        graph[name] = {**demo["sample"], "inputs": links}
        for kind, before in with_references.items():
            graph[f"{kind}_{name}"] = node("ReferenceLatent", conditioning=[before, 0], latent=[name, 0])
            with_references[kind] = f"{kind}_{name}"
    graph["load_references"] = node("FastCacheDemoReferencesModel")
    links = {kind: [last, 0] for kind, last in with_references.items()}
    graph["sample"] = ksampler(
        seed, steps, sampler, CFG, model=["load_references", 0], latent_image=["latent", 0], **links
    )
    return graph


def of_other_pieces(prompts: tuple[str, ...]) -> tuple[str, ...]:
    """Each prompt's colour with the next one's piece."""
    following = (*prompts[1:], prompts[0])
    return tuple(f"{prompt.split()[0]} {other.split()[1]}" for prompt, other in zip(prompts, following, strict=True))


def without_colour(prompts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(prompt.split()[1] for prompt in prompts)
