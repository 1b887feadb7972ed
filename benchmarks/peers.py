"""Nodes of other installed packs: which class has which knob, and rows made of what a pack registers.

To add one: its class name, the input that is its knob, and inputs that must differ from their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .rows import NONE, UNCACHED, Knob, Row, by_node


@dataclass(frozen=True)
class Peer:
    """A node that patches a model. inputs: what must differ from its defaults."""

    method: str
    knob: Knob
    inputs: Mapping[str, Any] = field(default_factory=dict)


def threshold(name: str, high: float) -> Knob:
    """A threshold, up to where the node allows it."""
    return Knob(name, 1e-3, high)


PEERS: dict[str, Peer] = {
    "ApplyFBCacheOnModel": Peer("First-Block Cache", threshold("residual_diff_threshold", 1.0)),
    "TeaCache": Peer("TeaCache", threshold("rel_l1_thresh", 10.0), {"model_type": "hunyuan_video"}),
    "ApplyTeaCachePatch": Peer("TeaCache", threshold("rel_l1_thresh", 1.0)),
    "MagCache": Peer("MagCache", threshold("magcache_thresh", 0.3), {"model_type": "hunyuan_video"}),
    "CacheDiT_Model_Optimizer": Peer("CacheDiT", Knob("skip_interval", 1, 10, whole=True, rising=True)),
    "TaylorSeerLite": Peer("TaylorSeer", Knob("fresh_threshold", 3, 7, whole=True)),
    "Spectrum": Peer("Spectrum", Knob("window_size", 1, 8, whole=True)),
    "SpectrumSDXL": Peer("Spectrum", Knob("window_size", 1, 8, whole=True)),
}


def packs_in(folder: Path) -> list[Path]:
    """The packs in a folder like custom_nodes: folders with an __init__.py, and single modules. ValueError: none."""
    if not folder.is_dir():
        raise ValueError(f"--peers {folder} is no folder; name one that holds packs, as ComfyUI's custom_nodes does.")
    found = [path for path in sorted(folder.iterdir()) if (path / "__init__.py").is_file() or path.suffix == ".py"]
    if not found:
        raise ValueError(f"There is no pack in --peers {folder}: no folder with an __init__.py, no module.")
    return found


def rows_of(pack: Path, nodes: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A row for every known class that a pack has registered. nodes: what ComfyUI says of all nodes, by class name.
    ValueError: there is none."""
    module = f"custom_nodes.{pack.stem if pack.suffix == '.py' else pack.name}"
    own = [name for name, about in nodes.items() if about["python_module"] == module]
    if not own:
        raise ValueError(f"ComfyUI could not load the pack {pack.name}, or it has no nodes; its log says why.")
    known = [name for name in own if name in PEERS]
    if not known:
        raise ValueError(
            f"No node of {pack.name} is in the table of benchmarks/peers.py; it has {', '.join(sorted(own)[:8])}."
        )
    return [row_of(pack, name) for name in known]


def row_of(pack: Path, class_type: str) -> Row:
    """The row of one class."""
    peer = PEERS[class_type]
    about = f"{peer.method}: node {class_type} of the installed pack {pack.name}, in a ComfyUI of its own."
    return by_node(f"{class_type} ({pack.name})", "peer", about, class_type, peer.knob, pack=pack, **peer.inputs)


def failed(pack: Path) -> Row:
    """What stands in the table for a pack without a row."""
    return Row(pack.name, "peer", f"The installed pack {pack.name}.", NONE, UNCACHED.graph, pack=pack)
