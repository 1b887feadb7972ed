"""The demo's graph in ComfyUI's API format, with and without FastCache."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]

PROMPTS = (
    "red t-shirt",
    "blue trousers",
    "green pullover",
    "yellow dress",
    "magenta coat",
    "cyan sneaker",
    "orange bag",
    "white boot",
)
# To tune and calibrate with; what is measured with PROMPTS has not seen them.
TRAINING_PROMPTS = (
    "blue dress",
    "red bag",
    "green coat",
    "cyan trousers",
    "white t-shirt",
    "orange pullover",
    "magenta boot",
    "yellow sneaker",
)
STEPS, CFG = 20, 3.0


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def ksampler(seed: int, steps: int, settings: dict[str, Any], cfg: float = CFG, **links: Any) -> dict[str, Any]:
    """A KSampler with these links: Euler over the whole schedule, unless the settings say otherwise."""
    usual = {"cfg": cfg, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    return node("KSampler", seed=seed, steps=steps, **{**usual, **settings}, **links)


def demo_graph(
    seed: int,
    steps: int = STEPS,
    fastcache: dict[str, Any] | None = None,
    prompts: tuple[str, ...] = PROMPTS,
    shift: float = 1.0,
    **sampler: Any,
) -> Graph:
    """One image a prompt. fastcache: the FastCache node's widget values, or None for a graph without the node.
    shift: of the schedule's sigmas; models of large pictures have 3 or more.

    The pictures are saved by node "save"; with FastCache, node "preview" carries the report. Other KSampler inputs,
    such as sampler_name, may be given by name.
    """
    model = "fastcache" if fastcache is not None else "shift"
    graph = {
        "load": node("UNETLoader", unet_name="fastcache_demo_dit.safetensors", weight_dtype="default"),
        "shift": node("ModelSamplingSD3", model=["load", 0], shift=shift),
        "positive": node("FastCacheDemoPrompt", prompts="\n".join(prompts)),
        "negative": node("FastCacheDemoPrompt", prompts=""),
        "vae": node("VAELoader", vae_name="pixel_space"),
        "canvas": node("EmptyImage", width=32, height=32, batch_size=len(prompts), color=0),
        "latent": node("VAEEncode", pixels=["canvas", 0], vae=["vae", 0]),
        "sample": ksampler(
            seed,
            steps,
            sampler,
            model=[model, 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
        ),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="fastcache_demo"),
    }
    if fastcache is not None:
        graph["fastcache"] = node("FastCache", model=["shift", 0], **fastcache)
        graph["preview"] = node("FastCachePreview", model=["fastcache", 0], after_sample=["sample", 0])
        graph["map"] = node("SaveImage", images=["preview", 0], filename_prefix="fastcache_map")
    return graph
