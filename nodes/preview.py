"""FastCache Preview: shows what the last sampling run skipped."""

from __future__ import annotations

import json
import logging
import secrets
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io

from .drawing.pictures import frame_pictures, save_pictures
from .drawing.rendering import render_report
from .drawing.report_data import frames_of
from .drawing.token_maps import Pictures
from .host import last_report
from .origin import of_workflow

log = logging.getLogger(__name__)


class FastCachePreview(io.ComfyNode):
    """Reads the report of a FastCache model once sampling is over."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCachePreview",
            display_name="FastCache Preview",
            category="model/patch",
            description="Shows which blocks and tokens were computed and which were predicted, at every evaluation.",
            is_experimental=True,
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The MODEL output of FastCache that the sampler uses."),
                io.MultiType.Input(
                    "after_sample",
                    types=[io.Latent, io.Image],
                    tooltip="The sampler's result. Its value is not used: it makes this node wait for the sampler.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The decoded result, of a video all frames: the token maps are drawn over it.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="map",
                    tooltip="The picture: blocks over evaluations, the curve, token maps.",
                ),
                io.String.Output(display_name="report", tooltip="The report as JSON, schema fastcache.report/1."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_) -> float:
        # The report belongs to the run, not to the inputs: read it again whenever the graph is queued.
        return float("nan")

    @classmethod
    def execute(cls, model, after_sample, image=None) -> io.NodeOutput:
        report = last_report(model, cls.hidden.prompt)
        pictures = [] if image is None else pictures_of(image, report)
        drawn = torch.from_numpy(draw(report, pictures))[None]
        shown: dict[str, Any] = {"fastcache_report": [report]}
        if image is not None:
            shown["fastcache_images"] = written(pictures)
        return io.NodeOutput(drawn, json.dumps(report), ui=shown | of_workflow(cls.hidden.extra_pnginfo))


def pictures_of(image: Any, report: dict) -> Pictures:
    """What the report's token maps are drawn over; nothing where the image does not suit."""
    try:
        return frame_pictures(image, *frames_of(report))
    except Exception as problem:  # a picture must not fail a run
        tell("the token maps are drawn without the image", problem)
        return []


def draw(report: dict, pictures: Pictures) -> np.ndarray:
    """The report's picture; a blank one when it cannot be drawn."""
    try:
        return render_report(report, pictures)
    except Exception as problem:  # a picture must not fail a run
        tell("the report could not be drawn", problem)
        return np.zeros((64, 64, 3), np.float32)


def written(pictures: Pictures) -> list[list[dict[str, str]]]:
    """References to the pictures in ComfyUI's temporary folder; none where they cannot be written."""
    if not pictures:
        return []
    try:
        name = f"fastcache_temp_{secrets.token_hex(4)}"
        folder, prefix, _, subfolder, _ = folder_paths.get_save_image_path(name, folder_paths.get_temp_directory())
        return save_pictures(pictures, Path(folder), subfolder, prefix)
    except OSError as problem:
        tell("the widget shows its token maps without the image", problem)
        return []


def tell(what: str, problem: Exception) -> None:
    """Log what is missing and why; where it was in the code, if nobody had foreseen it."""
    log.warning("FastCache Preview: %s. %s", what, problem, exc_info=not isinstance(problem, (ValueError, OSError)))
