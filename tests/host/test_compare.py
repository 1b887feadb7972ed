"""FastCache Compare in a real ComfyUI: its numbers are those of fastcache_core.metrics; pictures; what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from demo.graphs import Graph, node
from fastcache_core.metrics import closeness
from hosting.comfy_server import ComfyServer
from hosting.process import ComfyError

from .graphs import PROMPTS, graph, pictures, saved_latent


def comparison(fastcache: dict | None = None, prefix: str = "compared", **options: Any) -> Graph:
    """The demo's graph sampled with FastCache and without it, both into a FastCache Compare."""
    both = graph(fastcache=fastcache or {}, **options)
    both["plain"] = node("KSampler", **(both["sample"]["inputs"] | {"model": ["shift", 0]}))
    both["decode plain"] = node("VAEDecode", samples=["plain", 0], vae=["vae", 0])
    both["compare"] = node(
        "FastCacheCompare", reference=["decode plain", 0], image=["decode", 0], model=["fastcache", 0]
    )
    for name in ("sample", "plain"):
        both[f"keep {name}"] = node("SaveLatent", samples=[name, 0], filename_prefix=f"{prefix}_{name}")
    both["pictures"] = node("SaveImage", images=["compare", 0], filename_prefix=prefix)
    both["string"] = node("PreviewAny", source=["compare", 1])
    return both


def flat(width: int = 32, height: int = 32, batch: int = 1, color: int = 0) -> dict[str, Any]:
    return node("EmptyImage", width=width, height=height, batch_size=batch, color=color)


def compared(server: ComfyServer, reference: dict, image: dict, **more: Any) -> list[str]:
    """The lines of the text for two nodes' images; `more`: other nodes of the graph, "model" is connected."""
    model = {"model": ["model", 0]} if "model" in more else {}
    compare = node("FastCacheCompare", reference=["reference", 0], image=["image", 0], **model)
    outputs = server.run({"reference": reference, "image": image, "compare": compare, **more})["outputs"]
    return outputs["compare"]["text"][0].splitlines()


def test_numbers_and_pictures_of_the_demo(server):
    outputs = server.run(comparison(prefix="demo_compare"))["outputs"]
    lines = outputs["compare"]["text"][0].splitlines()
    assert outputs["string"]["text"][0] == outputs["compare"]["text"][0]
    report = outputs["preview"]["fastcache_report"][0]
    cached, plain = (
        np.moveaxis(pictures(saved_latent(server, f"demo_compare_{name}")), 1, -1) for name in ("sample", "plain")
    )
    measured = [closeness(image, reference) for image, reference in zip(cached, plain, strict=True)]
    worst = min((one.psnr, number) for number, one in enumerate(measured, 1))
    assert lines[0] == f"{len(PROMPTS)} pairs of 32 x 32 pixels."
    mean = np.mean([one.psnr for one in measured])
    assert lines[1] == f"PSNR {mean:.1f} dB on average, {worst[0]:.1f} dB at worst (pair {worst[1]})."
    assert f"Largest difference {max(one.largest for one in measured):.3g} (pair " in lines[3]
    assert f"{report['computed_fraction']:.0%}".replace("%", " %") in lines[4]
    steps = round(report["computed_fraction"] * 20)
    assert lines[5].startswith(f"The same work as about {steps} of 20 plain steps")
    assert len(outputs["compare"]["images"]) == len(outputs["pictures"]["images"]) == len(PROMPTS)
    for reference, saved in zip(plain, outputs["pictures"]["images"], strict=True):
        picture = np.asarray(server.image(saved).convert("RGB"))
        enlarged = np.kron((reference * 255 + 0.5).astype(np.uint8), np.ones((8, 8, 1), np.uint8))
        assert picture.shape[1] == 3 * 256 + 2 * 22 + 2 * 16
        # ComfyUI cuts off where the picture rounds.
        assert np.abs(picture[62 : 62 + 256, 16 : 16 + 256].astype(int) - enlarged).max() <= 1


def test_a_run_that_skips_nothing_is_identical_and_says_why(server):
    outputs = server.run(comparison({"block_threshold": 1e-6}, prefix="idle"))["outputs"]
    text = outputs["compare"]["text"][0]
    assert text.startswith("3 pairs of 32 x 32 pixels, identical: PSNR infinite, SSIM 1, largest difference 0.")
    assert "Nothing was skipped; smallest expected error seen" in text
    assert "plain steps" not in text


def test_second_order_samplers_are_counted_in_steps(server):
    outputs = server.run(comparison(prefix="heun", sampler_name="heun"))["outputs"]
    fraction = outputs["preview"]["fastcache_report"][0]["computed_fraction"]
    assert f"about {round(fraction * 20)} of 20 plain steps" in outputs["compare"]["text"][0]


def test_model_is_optional(server):
    assert compared(server, flat(), flat(color=0x800000)) == [
        "1 pair of 32 x 32 pixels.",
        "PSNR 10.8 dB.",
        "SSIM 0.6667.",
        "Largest difference 0.502, of a range of 1.",
    ]


def test_a_bypassed_fastcache_does_not_cost_the_comparison(server):
    loader = node("UNETLoader", unet_name="fastcache_demo_dit.safetensors", weight_dtype="default")
    lines = compared(server, flat(), flat(), model=loader)
    assert "identical" in lines[0]
    assert lines[1].startswith("This model does not come from a FastCache node")


def test_batches_of_different_length(server):
    lines = compared(server, flat(color=0xFFFFFF), flat(batch=3, color=0xF0F0F0))
    assert lines[0] == "3 pairs of 32 x 32 pixels."
    assert "the last reference stands for those that are missing" in lines[-1]


def test_transparency_is_left_out(server):
    mask = node("SolidMask", value=0.5, width=32, height=32)
    joined = node("JoinImageWithAlpha", image=["opaque", 0], alpha=["mask", 0])
    lines = compared(server, flat(color=0x102030), joined, opaque=flat(color=0x102030), mask=mask)
    assert "identical" in lines[0]
    assert lines[1] == "The image has transparency, which is not compared."


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (flat(width=64), "reference has 32 x 32 pixels and the image 64 x 32; only images of one size"),
        (flat(height=16), "reference has 32 x 32 pixels and the image 32 x 16; only images of one size"),
    ],
)
def test_different_sizes_are_refused(server, image, sentence):
    with pytest.raises(ComfyError, match=sentence):
        compared(server, flat(), image)


def test_images_too_small_for_ssim_are_refused(server):
    with pytest.raises(ComfyError, match="windows of 11 x 11 pixels, but the images have 8 x 32; enlarge them first"):
        compared(server, flat(width=8), flat(width=8))


def test_long_videos_show_some_of_their_pictures(server):
    graph = {"a": flat(batch=40), "b": flat(batch=40, color=0x0000FF)}
    graph["compare"] = node("FastCacheCompare", reference=["a", 0], image=["b", 0])
    graph["all"] = node("PreviewImage", images=["compare", 0])
    outputs = server.run(graph)["outputs"]
    assert len(outputs["compare"]["images"]) == 14, "every third"
    assert len(outputs["all"]["images"]) == 40
