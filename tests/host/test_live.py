"""Live preview in a real ComfyUI: who gets messages, when they stop, what they cost."""

from __future__ import annotations

import base64
import json
import time

import numpy as np
import pytest

from hosting.comfy_server import ComfyError
from hosting.events import EventListener

from .graphs import DEFAULTS, afresh, graph, saved_latent, toy_graph
from .graphs import node as graph_node
from .pairs import assert_at_most

EVENT = "fastcache.step"


def looking(graph: dict, look: bool = True) -> dict:
    """The graph as the frontend queues it: the preview's widget says whether live updates are on."""
    preview = graph["preview"]
    return {**graph, "preview": {**preview, "inputs": preview["inputs"] | {"skip_map": look}}}


def steps(server, prompt_id: str) -> list[dict]:
    """The messages that came of a prompt."""
    return [event["data"] for event in server.events.all(EVENT) if event["data"]["prompt_id"] == prompt_id]


def run(server, graph: dict, **options) -> tuple[dict, list[dict]]:
    """The report and the messages of a run."""
    prompt_id = server.queue(graph, **options)
    report = server.wait(prompt_id)["outputs"]["preview"]["fastcache_report"][0]
    time.sleep(0.3)
    return report, steps(server, prompt_id)


def test_one_small_message_an_evaluation_says_what_the_report_says(server):
    report, messages = run(server, looking(graph(fastcache={"token_threshold": 0.05})), workflow={"id": "of the page"})
    assert [message["evaluation"] for message in messages] == list(range(len(report["computed"])))
    assert max(len(json.dumps(message)) for message in messages) < 16 * 1024
    assert len({message["run"] for message in messages}) == 1
    for message, computed, mask in zip(messages, report["computed"], report["tokens"]["computed"], strict=True):
        assert message["v"] == 1 and message["nodes"] == ["preview"] and message["workflow"] == "of the page"
        levels = np.frombuffer(base64.b64decode(message["computed"]), np.uint8)
        np.testing.assert_allclose(levels / 255, computed, atol=0.003)
        assert message["tokens"]["grid"] == report["tokens"]["grid"]
        assert message["tokens"]["bits"] == mask
    assert messages[-1]["computed_fraction"] == report["computed_fraction"]
    assert messages[-1]["sigma"] == pytest.approx(report["run"]["sigmas"][-1], abs=1e-4)


@pytest.mark.parametrize("look", [False, None])
def test_nobody_looks_nothing_is_sent(server, look):
    plain = afresh(graph(fastcache={}))
    report, messages = run(server, plain if look is None else looking(plain, look))
    assert len(report["computed"]) == 20 and messages == []


def test_client_that_is_gone_gets_nothing_and_others_neither(server):
    queued = afresh(looking(graph(fastcache={})))
    prompt_id = server.post("/prompt", {"prompt": queued, "client_id": "nobody"})["prompt_id"]
    while not server.get(f"/history/{prompt_id}"):
        time.sleep(0.2)
    assert steps(server, prompt_id) == []


def test_only_the_page_that_queued_gets_messages(server):
    other = EventListener(f"{server.url}/ws?clientId=other")
    try:
        assert other.wait_for(lambda event: event["type"] == "status", timeout=30)
        _, messages = run(server, afresh(looking(graph(fastcache={}))))
        assert messages and other.all(EVENT) == []
    finally:
        other.close()


def test_two_previews_get_the_messages_of_their_own_run(server):
    """Of two samplers with FastCache in one prompt, whose previews have ids as in subgraphs."""
    first = {f"1:{name}" if name == "preview" else name: entry for name, entry in looking(graph(fastcache={})).items()}
    second = {
        "2:fastcache": graph_node("FastCache", **first["fastcache"]["inputs"] | {"block_threshold": 0.3}),
        "2:sample": graph_node("KSampler", **first["sample"]["inputs"] | {"model": ["2:fastcache", 0], "steps": 9}),
        "2:preview": graph_node(
            "FastCachePreview", model=["2:fastcache", 0], after_sample=["2:sample", 0], skip_map=True
        ),
    }
    prompt_id = server.queue(first | second)
    outputs = server.wait(prompt_id)["outputs"]
    time.sleep(0.3)
    for name in ("1:preview", "2:preview"):
        mine = [message for message in steps(server, prompt_id) if name in message["nodes"]]
        assert len(mine) == len(outputs[name]["fastcache_report"][0]["computed"])
        assert all(message["nodes"] == [name] for message in mine)


def threads(server) -> list[str]:
    """Names of the threads in ComfyUI."""
    probe = {"threads": graph_node("FastCacheToyThreads", run=time.monotonic_ns() % 10**9)}
    return json.loads(server.run(probe)["outputs"]["threads"]["text"][0])


@pytest.mark.parametrize("failure", ["interrupt", "error"])
def test_interrupted_run_leaves_no_thread(server, failure):
    failing = looking(toy_graph("flux", DEFAULTS))
    failing["fail"] = graph_node(
        "FastCacheToyFailOnce", model=["toy", 0], blocks="double_block", index=0, failure=failure, call=5
    )
    failing["fastcache"]["inputs"]["model"] = ["fail", 0]
    prompt_id = server.queue(failing)
    with pytest.raises(ComfyError):
        server.wait(prompt_id)
    assert steps(server, prompt_id)
    assert "FastCache live preview" not in threads(server)


def latents(server, graph: dict, name: str) -> np.ndarray:
    keep = graph_node("SaveLatent", samples=["sample", 0], filename_prefix=name)
    server.run({**graph, "keep": keep})
    return saved_latent(server, name)


def test_error_while_encoding_costs_no_image(server):
    """A node puts a failing encoder in place of the real one."""
    plain = looking(toy_graph("flux", DEFAULTS), False)
    reference = latents(server, plain, "live_reference")
    breaking = afresh(looking(toy_graph("flux", DEFAULTS)))
    breaking["break"] = graph_node("FastCacheToyBreak", model=["toy", 0], attribute="message", module="live")
    breaking["fastcache"]["inputs"]["model"] = ["break", 0]
    before = server.log().count("the preview is not updated any more in this run")
    assert np.array_equal(latents(server, breaking, "live_broken"), reference)
    assert server.log().count("the preview is not updated any more in this run") == before + 1


def seconds(server, seed: int, look: bool) -> float:
    queued = afresh(looking(toy_graph("flux_wide", DEFAULTS, steps=10), look))
    queued["sample"]["inputs"]["seed"] = seed
    prompt_id = server.queue(queued)
    report = server.wait(prompt_id)["outputs"]["preview"]["fastcache_report"][0]
    assert len(report["computed"]) == 10
    return server.node_seconds(prompt_id, "sample")


@pytest.mark.alone
def test_looking_costs_at_most_one_percent_of_the_run(server):
    seconds(server, 0, False)  # loads the model

    def longer(seed: int) -> list[float]:
        taken = {look: seconds(server, seed, look) for look in ([False, True] if seed % 2 else [True, False])}
        return [taken[True] / taken[False] - 1]

    assert_at_most(0.01, longer)
