"""A process of its own that samples in a process group of one, which a MODEL names: python -m tests.host.one_rank."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.in_process import start
from benchmarks.overhead import Overhead
from benchmarks.sizes import SIZES

SETTINGS = {"rule": "interval", "interval": 2, "warmup_evaluations": 2}


def main() -> None:
    host = start(Path(os.environ["FASTCACHE_COMFYUI"]), "cpu")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    measured = Overhead(host, "tiny", SIZES["tiny"], "cpu", 8, 1)
    options = measured.model.patcher.model_options.setdefault("transformer_options", {})
    with torch.inference_mode():
        for group in (None, dist.group.WORLD):
            options[host.GROUP] = lambda group=group: group
            watched = measured.watched(SETTINGS, {})
            measured.sample(watched.patcher, 1)
            run = watched.session.run
            print(type(run.ranks).__name__, getattr(run.ranks, "exchanges", 0), run.decider.synchronisations,
                  watched.report["computed_fraction"])  # fmt: skip
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
