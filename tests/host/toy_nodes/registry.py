"""Nodes from plain functions, to keep the toys short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from comfy_api.latest import io

NODES: list[type[io.ComfyNode]] = []


def toy_node(name: str, inputs: Sequence[Any], outputs: Sequence[Any] = (), shows: bool = False) -> Callable:
    """Register a function as the node `FastCacheToy<name>`; shows: it returns a text that clients see, no output."""

    def register(function: Callable) -> Callable:
        class ToyNode(io.ComfyNode):
            @classmethod
            def define_schema(cls) -> io.Schema:
                return io.Schema(
                    node_id=f"FastCacheToy{name}",
                    category="fastcache tests",
                    inputs=list(inputs),
                    outputs=list(outputs),
                    is_output_node=shows,
                )

            @classmethod
            def execute(cls, **values: Any) -> io.NodeOutput:
                found = function(**values)
                return io.NodeOutput(ui={"text": [found]}) if shows else io.NodeOutput(found)

        NODES.append(ToyNode)
        return function

    return register
