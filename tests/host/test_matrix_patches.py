"""FastCache with what other nodes do to the model: patches on blocks, LoRAs, controls, context windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from demo.graphs import Graph, node
from hosting.comfy_server import ComfyServer

from .graphs import bypassed, gets_along, graph, quality, refined, sample, skips_and_stays_close

Companion = dict[str, Any]


def placed(companion: Companion, order: str, **settings: Any) -> Graph:
    """The demo's graph with a MODEL node before FastCache, after it, or one on either side."""
    beside = graph(fastcache=settings)
    if order != "after":
        beside["before"] = node(**companion, model=["shift", 0])
        beside["fastcache"]["inputs"]["model"] = ["before", 0]
    if order != "before":
        beside["after"] = node(**companion, model=["fastcache", 0])
        beside["sample"]["inputs"]["model"] = ["after", 0]
    return beside


@pytest.fixture(scope="module")
def untouched(server) -> np.ndarray:
    """The demo's images without FastCache and without companions."""
    return sample(server, graph())[0]


def order_does_not_matter(server: ComfyServer, companion: Companion) -> np.ndarray:
    """Assert that before and after FastCache it gives the same image, close to its reference, which is returned."""
    reference, before = gets_along(server, placed(companion, "before"), 35)
    after, _ = sample(server, placed(companion, "after"))
    assert np.array_equal(before, after)
    return reference


@pytest.mark.parametrize(("blocks", "index"), [("double_block", 0), ("single_block", 6)])
def test_another_replacing_patch_on_a_block(server, untouched, blocks, index):
    companion = {"class_type": "FastCacheToyScaleBlock", "blocks": blocks, "index": index, "scale": 1.2}
    reference = order_does_not_matter(server, companion)
    assert quality(reference, untouched) < 40


def test_replacing_patches_on_one_block_before_and_after_fastcache_are_both_called(server):
    companion = {"class_type": "FastCacheToyScaleBlock", "blocks": "double_block", "index": 1, "scale": 1.03}
    reference, _ = gets_along(server, placed(companion, "both"), 35)
    one, _ = sample(server, bypassed(placed(companion, "before")))
    assert quality(one, reference) < 50


@pytest.mark.parametrize(("blocks", "index"), [("double_block", 3), ("single_block", 5)])
def test_a_pack_that_adds_to_the_state_in_a_blocks_forward(server, untouched, blocks, index):
    companion = {"class_type": "FastCacheToyAddBeforeBlock", "blocks": blocks, "index": index, "amount": 0.3}
    reference = order_does_not_matter(server, companion)
    assert quality(reference, untouched) < 40


@pytest.fixture(scope="module")
def lora(server) -> str:
    """A LoRA for the demo model: a small random update of rank 2 of every attention's projections."""
    generator, tensors = np.random.default_rng(0), {}
    with safe_open(server.base / "models/diffusion_models/fastcache_demo_dit.safetensors", "np") as model:
        weights = [name for name in model.keys() if name.endswith(("attn.qkv.weight", "linear1.weight"))]  # noqa: SIM118
        for name in weights:
            rows, columns = model.get_slice(name).get_shape()
            layer = f"diffusion_model.{name.removeprefix('model.diffusion_model.').removesuffix('.weight')}"
            tensors[f"{layer}.lora_up.weight"] = generator.normal(0, 0.05, (rows, 2)).astype(np.float32)
            tensors[f"{layer}.lora_down.weight"] = generator.normal(0, 0.05, (2, columns)).astype(np.float32)
    folder = server.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "toy.safetensors")
    return "toy.safetensors"


def test_lora(server, untouched, lora):
    companion = {"class_type": "LoraLoaderModelOnly", "lora_name": lora, "strength_model": 1.0}
    reference = order_does_not_matter(server, companion)
    assert quality(reference, untouched) < 40


def controlled_graph(uncond_too: bool) -> Graph:
    controlled = graph(fastcache={})
    controlled["control"] = node(
        "FastCacheToyControl", conditioning=["positive", 0], amount=0.3, width=128, uncond_too=uncond_too
    )
    controlled["sample"]["inputs"]["positive"] = ["control", 0]
    return controlled


@pytest.mark.parametrize("uncond_too", [True, False])
def test_a_control_that_adds_between_blocks(server, untouched, uncond_too):
    controlled = controlled_graph(uncond_too)
    reference, _ = gets_along(server, controlled, 35)
    assert quality(reference, untouched) < 40
    blocks = refined(controlled, {"level": "stack"})
    skips_and_stays_close(server, blocks, 35)
    _, report = sample(server, blocks)
    assert report["run"]["level"] == "block"


def context_graph(server: ComfyServer, dimension: int, **settings: Any) -> Graph:
    """A larger canvas, sampled in two overlapping windows along its height (2) or its width (3)."""
    windowed = graph(fastcache=settings, prompts=("red trousers",))
    windowed["canvas"]["inputs"]["height" if dimension == 2 else "width"] = 48
    specs = server.object_info()["ContextWindowsManual"]["input"]["required"]
    inputs = {name: spec[1]["default"] for name, spec in specs.items() if len(spec) > 1 and "default" in spec[1]}
    inputs |= {
        "context_length": 32,
        "context_overlap": 16,
        "context_schedule": "standard_static",
        "fuse_method": "pyramid",
        "dim": dimension,
    }
    if "causal_window_fix" in inputs:
        inputs["causal_window_fix"] = False  # a frame of its own at the start of a window, in videos
    windowed["windows"] = node("ContextWindowsManual", model=["fastcache", 0], **inputs)
    windowed["sample"]["inputs"]["model"] = ["windows", 0]
    return windowed


@pytest.mark.parametrize("dimension", [2, 3])
def test_context_windows(server, dimension):
    windowed = context_graph(server, dimension)
    reference, _ = gets_along(server, windowed, 30)
    unwindowed = bypassed(windowed)
    unwindowed["sample"]["inputs"]["model"] = ["shift", 0]
    whole, _ = sample(server, unwindowed)
    assert quality(whole, reference) < 40
