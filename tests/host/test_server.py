"""A real ComfyUI starts, runs graphs, hands pictures over and tells of failures."""

from __future__ import annotations

from typing import Any

import pytest

from hosting.comfy_server import ComfyServer
from hosting.process import ComfyError

ORANGE = 0xFF8C1E


def picture_graph(width: int = 64, color: int = ORANGE) -> dict[str, Any]:
    """EmptyImage -> SaveImage, in API format."""
    empty = {"width": width, "height": 32, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "picture"}},
    }


def test_core_nodes_are_registered(server: ComfyServer) -> None:
    assert {"KSampler", "UNETLoader"} <= server.object_info().keys()


def test_picture_comes_back(server: ComfyServer) -> None:
    entry = server.run(picture_graph())
    picture = server.image(entry["outputs"]["2"]["images"][0])
    assert picture.convert("RGB").getcolors() == [(64 * 32, (0xFF, 0x8C, 0x1E))]


def test_events_of_a_run_are_collected(server: ComfyServer) -> None:
    prompt_id = server.queue(picture_graph(color=0x102030))
    server.wait(prompt_id)
    assert server.events is not None
    ended = [event["data"]["prompt_id"] for event in server.events.all("execution_success")]
    assert prompt_id in ended


def test_refused_graph_raises_the_reason(server: ComfyServer) -> None:
    with pytest.raises(ComfyError, match="Value 0 smaller than min of 1"):
        server.run(picture_graph(width=0))


def test_failing_node_raises_its_message(server: ComfyServer) -> None:
    graph = picture_graph()
    graph["2"]["inputs"]["filename_prefix"] = "../../outside"
    with pytest.raises(ComfyError, match=r"Node 2 \(SaveImage\) failed.*outside the output folder"):
        server.run(graph)


def test_stays_usable_after_a_failure(server: ComfyServer) -> None:
    assert server.run(picture_graph(color=0))["status"]["completed"]


def test_pack_is_loaded(server: ComfyServer) -> None:
    assert "FastCache" in server.object_info()
    assert "IMPORT FAILED" not in server.log()
