"""FastCache with what a sampler is given: other samplers and schedules, pictures, masks, batches, split guidance."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from demo.graphs import Graph, node

from .graphs import (
    DEFAULTS,
    PROMPTS,
    bypassed,
    gets_along,
    graph,
    refined,
    sample,
    sample_all,
    skips_and_stays_close,
    with_widgets,
)


@pytest.mark.parametrize(("sampler", "decibels"), [("dpmpp_2s_ancestral", 24), ("res_multistep", 35)])
def test_more_samplers_skip_and_stay_close(server, sampler, decibels):
    skips_and_stays_close(server, graph(fastcache={}, sampler_name=sampler), decibels)


def test_lcm_which_adds_noise_at_every_step_skips_at_a_higher_threshold(server):
    skips_and_stays_close(server, graph(fastcache={"block_threshold": 0.5}, sampler_name="lcm"), 15)


def custom_graph(sampler: str, sigmas: dict, fastcache: dict | None) -> Graph:
    """The demo's graph with SamplerCustom."""
    custom = graph(fastcache=fastcache)
    kept = ("model", "positive", "negative", "latent_image", "cfg")
    inputs = {name: custom["sample"]["inputs"][name] for name in kept}
    custom["sampler"] = node("KSamplerSelect", sampler_name=sampler)
    custom["sigmas"] = sigmas
    custom["sample"] = node(
        "SamplerCustom", **inputs, add_noise=True, noise_seed=5, sampler=["sampler", 0], sigmas=["sigmas", 0]
    )
    return custom


@pytest.mark.parametrize(("sampler", "threshold"), [("euler", 0.3), ("heun", 0.3), ("lcm", 0.5)])
def test_a_schedule_that_repeats_sigmas(server, sampler, threshold):
    numbers = "1 0.95 0.95 0.9 0.85 0.8 0.7 0.7 0.7 0.6 0.5 0.4 0.4 0.3 0.3 0.2 0.1 0.1 0"
    repeating = custom_graph(sampler, node("FastCacheToySigmas", numbers=numbers), {"block_threshold": threshold})
    reference, _ = skips_and_stays_close(server, repeating, 15)
    # Where the sampler asks for the very same again, its answer is foreseen at any threshold.
    exact, _ = sample(server, with_widgets(repeating, block_threshold=1e-6))
    np.testing.assert_allclose(exact, reference, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 2])
def test_one_and_two_steps_are_left_alone_with_a_reason(server, steps):
    reference, _ = sample(server, graph(steps=steps))
    cached, report = sample(server, graph(fastcache={"block_threshold": 10.0}, steps=steps))
    assert np.array_equal(cached, reference)
    assert report["computed"] == [[1] * 16] * steps
    assert f"{steps} steps are too few" in report["notes"][0]


@pytest.fixture(scope="module")
def picture(server) -> str:
    """A red disc with a bar, as a file in ComfyUI's input folder."""
    image = Image.new("RGB", (32, 32))
    draw = ImageDraw.Draw(image)
    draw.ellipse((6, 6, 26, 26), fill=(220, 40, 40))
    draw.rectangle((2, 14, 30, 18), fill=(60, 60, 200))
    image.save(server.base / "input" / "disc.png")
    return "disc.png"


def picture_graph(picture: str, denoise: float) -> Graph:
    """The demo's graph, started from one picture instead of an empty canvas."""
    started = graph(fastcache={}, prompts=("red bag",), denoise=denoise)
    started["canvas"] = node("LoadImage", image=picture)
    return started


def test_image_to_image_skips_and_stays_close(server, picture):
    started = picture_graph(picture, denoise=0.5)
    reference, _ = gets_along(server, started, 35)
    (source,), _ = sample_all(server, bypassed(started), ["latent"])
    assert not np.allclose(reference, source, atol=0.05)


def half_mask(width: int = 32) -> Graph:
    """Node "mask": 1 in the left half, 0 in the right half."""
    return {
        "none": node("SolidMask", value=0.0, width=width, height=32),
        "half": node("SolidMask", value=1.0, width=width // 2, height=32),
        "mask": node("MaskComposite", destination=["none", 0], source=["half", 0], x=0, y=0, operation="add"),
    }


@pytest.mark.parametrize("denoise", [0.6, 1.0])
def test_inpainting_leaves_the_other_half_as_it_was(server, picture, denoise):
    inpainting = picture_graph(picture, denoise) | half_mask()
    inpainting["masked"] = node("SetLatentNoiseMask", samples=["latent", 0], mask=["mask", 0])
    inpainting["sample"]["inputs"]["latent_image"] = ["masked", 0]
    reference, cached = gets_along(server, inpainting, 30)
    (source,), _ = sample_all(server, bypassed(inpainting), ["latent"])
    np.testing.assert_allclose(cached[..., 16:], source[..., 16:], atol=1e-5)
    assert not np.allclose(reference[..., :16], source[..., :16], atol=0.1)


@pytest.mark.parametrize("area", ["default", "mask bounds"])
def test_masked_conditioning(server, area):
    masked = graph(fastcache={}, prompts=("red trousers",)) | half_mask()
    other = masked["half prompt"] = node("FastCacheDemoPrompt", prompts="yellow dress")
    masked["left"] = node(
        "ConditioningSetMask", conditioning=["half prompt", 0], mask=["mask", 0], strength=1.0, set_cond_area=area
    )
    masked["both"] = node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["left", 0])
    masked["sample"]["inputs"]["positive"] = ["both", 0]
    reference, _ = gets_along(server, masked, 25)
    other["inputs"]["prompts"] = "blue sandal"
    changed, _ = sample(server, bypassed(masked))
    assert not np.allclose(changed, reference, atol=0.05)


def per_image_graph(prompts: tuple[str, ...], seeds: str, fastcache: dict | None) -> Graph:
    """SamplerCustomAdvanced with noise of its own for every image; the same decisions whatever the images are."""
    each = graph(fastcache=fastcache, prompts=prompts)
    model = each["sample"]["inputs"]["model"]
    each["guider"] = node("CFGGuider", model=model, positive=["positive", 0], negative=["negative", 0], cfg=3.0)
    each["noise"] = node("FastCacheToyNoise", seeds=seeds)
    each["sampler"] = node("KSamplerSelect", sampler_name="euler")
    each["sigmas"] = node("BasicScheduler", model=model, scheduler="simple", steps=14, denoise=1.0)
    inputs = {name: [name, 0] for name in ("noise", "guider", "sampler", "sigmas")}
    each["sample"] = node("SamplerCustomAdvanced", **inputs, latent_image=["latent", 0])
    return each


def test_a_batch_equals_its_images_sampled_one_by_one(server):
    always = {"block_threshold": 10.0}
    batch, report = sample(server, per_image_graph(PROMPTS, "5 6 7", always))
    assert report["computed_fraction"] < 0.6
    for i, prompt in enumerate(PROMPTS):
        alone, single = sample(server, per_image_graph((prompt,), str(5 + i), always))
        assert single["computed"] == report["computed"]
        np.testing.assert_allclose(batch[i : i + 1], alone, atol=1e-3)


def split_graph(after: int, fastcache: dict | None) -> Graph:
    """Conditionings share a batch in the first `after` evaluations; node "calls" shows how often the model ran."""
    parted = graph(fastcache=fastcache, steps=14)
    parted["split"] = node("FastCacheToySplit", model=["shift", 0], after=after)
    user = "sample" if fastcache is None else "fastcache"
    parted[user]["inputs"]["model"] = ["split", 0]
    parted["calls"] = node("FastCacheToyCalls", model=["split", 0], after_sample=["sample", 0])
    return parted


@pytest.mark.parametrize("level", ["stack", "block"])
def test_split_guidance_and_guidance_that_splits_in_mid_run_equal_batched_guidance(server, level):
    found = []
    for after, calls in ((100, 14), (0, 28), (5, 23), (8, 20)):
        (latents,), outputs = sample_all(
            server, refined(split_graph(after, {}), {"threshold": 10.0, "level": level}), ["sample"]
        )
        assert json.loads(outputs["calls"]["text"][0]) == [14, calls]
        found.append((latents, outputs["preview"]["fastcache_report"][0]))
    batched, report = found[0]
    assert report["run"]["level"] == level and report["computed_fraction"] < 0.6
    for latents, other in found[1:]:
        assert other["computed"] == report["computed"]
        np.testing.assert_allclose(latents, batched, atol=1e-3)


@pytest.mark.parametrize("after", [0, 5])
def test_split_guidance_with_default_settings(server, after):
    gets_along(server, split_graph(after, {}), 35)


def test_two_fastcache_nodes_in_two_branches_of_one_graph(server):
    faithful, fast = {"block_threshold": 0.07}, {"block_threshold": 0.3}
    both = graph(fastcache=faithful)
    both["fast"] = node("FastCache", model=["shift", 0], **(DEFAULTS | fast))
    both["sample 2"] = node("KSampler", **(both["sample"]["inputs"] | {"model": ["fast", 0]}))
    both["preview 2"] = node("FastCachePreview", model=["fast", 0], after_sample=["sample 2", 0])
    latents, outputs = sample_all(server, both, ["sample", "sample 2"])
    for together, shown, settings in zip(latents, ("preview", "preview 2"), (faithful, fast), strict=True):
        alone, report = sample(server, graph(fastcache=settings))
        assert np.array_equal(together, alone)
        assert outputs[shown]["fastcache_report"][0]["computed"] == report["computed"]
        assert report["computed_fraction"] < 0.8
    assert not np.array_equal(*latents)
