"""Frontiers: quality over computed work, and over measured time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

Result = Mapping[str, Any]
AXES = {"work": "computed work", "time": "time, against the uncached run beside it"}
LEAST = {"psnr": 24.0, "ssim": 0.8}  # what is worse lies below the panels, which would else be empty
QUALITY = {"psnr": "PSNR, dB", "ssim": "SSIM"}
STRONG = {"FastCache": "tab:blue", "FastCache calibrated": "tab:orange"}
GROUPS = {"steps": "tab:red", "core": "tab:green", "model output": "tab:purple", "peer": "tab:brown",
          "published": "0.6", "FastCache": "tab:cyan"}  # fmt: skip
MARKERS = "osv^D<>PXp*h"


def frontiers(results: Sequence[Result], folder: Path) -> Path | None:
    """Four panels as a PNG: PSNR and SSIM over work and over time. None where no frontier was measured."""
    done = [result for result in results if not result["problem"] and result["group"] != "reference"]
    if len({result["target"] for result in done}) < 2:
        return None
    path = folder / f"frontier_{done[0]['workload']}.png"
    figure, panels = plt.subplots(len(QUALITY), len(AXES), figsize=(13, 10), sharey="row", layout="constrained")
    for line, (quality, label) in zip(panels, QUALITY.items(), strict=True):
        for panel, (axis, title) in zip(line, AXES.items(), strict=True):
            draw(panel, done, axis, quality)
            panel.set(xlabel=title, ylabel=label)
            panel.set_ylim(bottom=max(panel.get_ylim()[0], min(LEAST[quality], panel.get_ylim()[1] - 1e-3)))
            panel.grid(alpha=0.3)
    figure.suptitle(done[0]["setting"])
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return path


def draw(panel: Any, results: Sequence[Result], axis: str, quality: str) -> None:
    """One line a row, through its points."""
    names = list(dict.fromkeys(result["row"] for result in results))
    for number, name in enumerate(names):
        points = sorted((x_of(r, axis), r[quality]["mean"], r["group"]) for r in results if r["row"] == name)
        strong = name in STRONG
        panel.plot(
            [x for x, _, _ in points], [y for _, y, _ in points], label=name,
            marker=MARKERS[number % len(MARKERS)], color=STRONG.get(name, GROUPS[points[0][2]]),
            linewidth=2.5 if strong else 1, zorder=3 if strong else 2, markersize=7 if strong else 5,
        )  # fmt: skip


def x_of(result: Result, axis: str) -> float:
    """Work, or time as a part of the uncached run's."""
    return result["work"] if axis == "work" else 1 / result["speedup"]
