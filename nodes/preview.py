"""FastCache Preview: shows what the last sampling run skipped."""

from __future__ import annotations

import json
import logging

import numpy as np
import torch
from comfy_api.latest import io

from .host import last_report
from .rendering import render_report

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
            ],
            outputs=[
                io.Image.Output(display_name="map", tooltip="The picture: blocks over evaluations, token maps."),
                io.String.Output(display_name="report", tooltip="The report as JSON, schema fastcache.report/1."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_) -> float:
        # The report belongs to the run, not to the inputs: read it again whenever the graph is queued.
        return float("nan")

    @classmethod
    def execute(cls, model, after_sample) -> io.NodeOutput:
        report = last_report(model)
        if report is None:
            raise ValueError("No sampling run yet: connect after_sample to the sampler that uses this FastCache model.")
        picture = torch.from_numpy(draw(report))[None]
        return io.NodeOutput(picture, json.dumps(report), ui={"fastcache_report": [report]})


def draw(report: dict) -> np.ndarray:
    """The report's picture; a blank one when it cannot be drawn, since a picture must not fail a run."""
    try:
        return render_report(report)
    except ValueError as problem:
        log.warning("FastCache Preview: the report could not be drawn. %s", problem)
        return np.zeros((64, 64, 3), np.float32)
