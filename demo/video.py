"""The video demo's graph in ComfyUI's API format: pieces of clothing that move over a background that stands still.

The model is a small Wan 2.1 (see wan.py, train_video.py) of 6 frames of 48x48 pixels, which are 216 tokens.
"""

from __future__ import annotations

from demo.graphs import Graph, ksampler, node

PROMPTS = (
    "trousers right",
    "boot left",
    "dress up",
    "bag down",
    "sneaker right",
    "coat left",
    "pullover down",
    "t-shirt up",
)
TRAINING_PROMPTS = (
    "trousers left",
    "boot right",
    "dress down",
    "bag up",
    "sneaker left",
    "t-shirt down",
    "shirt down",
    "pullover up",
)
STEPS, CFG, SHIFT = 20, 3.0, 8.0
FRAMES, SIZE = 6, 48


def graph(seed: int, prompts: tuple[str, ...] = PROMPTS, steps: int = STEPS, **sampler: object) -> Graph:
    """One video a prompt, its frames saved one after another by node "save".

    sampler: other inputs of the KSampler, such as sampler_name, by name.
    """
    words = "fastcache_demo_video_words.safetensors"
    return {
        "load": node("UNETLoader", unet_name="fastcache_demo_video.safetensors", weight_dtype="default"),
        "shift": node("ModelSamplingSD3", model=["load", 0], shift=SHIFT),
        "positive": node("FastCacheDemoPrompt", prompts="\n".join(prompts), words=words),
        "negative": node("FastCacheDemoPrompt", prompts="", words=words),
        # It counts 8x8 pixels and 4 frames to a latent's place; here, that is 4x4 pixels of one frame.
        "latent": node(
            "EmptyHunyuanLatentVideo",
            width=2 * SIZE,
            height=2 * SIZE,
            length=4 * FRAMES - 3,
            batch_size=len(prompts),
        ),
        "sample": ksampler(
            seed,
            steps,
            sampler,
            CFG,
            model=["shift", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
        ),
        "frames": node("FastCacheDemoFrames", samples=["sample", 0]),
        "save": node("SaveImage", images=["frames", 0], filename_prefix="fastcache_demo_video"),
    }
