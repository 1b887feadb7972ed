"""FastCache Compare: how close an image came to the one without FastCache, and what steps alone would have cost."""

from __future__ import annotations

import math
from collections.abc import Iterator

import comfy.utils
import numpy as np
import torch
from comfy_api.latest import io, ui

from ..fastcache_core.metrics import closeness
from .drawing.comparison import Pair, Pairs, comparison_text, pictures, skipped_text
from .host import last_report
from .origin import of_workflow

SHOWN = 16  # pictures in the graph, at most: more of them, a video's, would be written and never looked at


class FastCacheCompare(io.ComfyNode):
    """Numbers and pictures of two batches of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheCompare",
            display_name="FastCache Compare",
            category="model/patch",
            description="How close images came to those without FastCache: PSNR, SSIM, a map of the differences, and "
            "how many plain steps would have cost the same work.",
            is_experimental=True,
            is_output_node=True,
            inputs=[
                io.Image.Input(
                    "reference", tooltip="The images without FastCache: same seed and settings, FastCache bypassed."
                ),
                io.Image.Input("image", tooltip="The images with FastCache, of the same size."),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The MODEL output of FastCache that sampled the image, to say what was skipped.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="pictures",
                    tooltip="One picture a pair: reference, image, map of the difference.",
                ),
                io.String.Output(display_name="text", tooltip="What was measured, as it is shown on the node."),
            ],
        )

    @classmethod
    def execute(cls, reference, image, model=None) -> io.NodeOutput:
        pairs = Pairs(reference, image)
        progress = comfy.utils.ProgressBar(2 * len(pairs))
        measured = [closeness(seen, wanted) for wanted, seen in watched(pairs, progress)]
        text = comparison_text(pairs, measured, [] if model is None else skipped_text(last_report(model)))
        drawn = stacked(pictures(pairs, watched(pairs, progress), measured), len(pairs))
        shown = drawn[:: math.ceil(len(drawn) / SHOWN)]
        told = {"text": [text], **of_workflow(cls.hidden.extra_pnginfo)}
        return io.NodeOutput(drawn, text, ui=ui.PreviewImage(shown, cls=cls).as_dict() | told)


def watched(pairs: Pairs, progress: comfy.utils.ProgressBar) -> Iterator[Pair]:
    """The pairs, counted on the progress bar, which is also where an interrupt arrives."""
    for pair in pairs:
        yield pair
        progress.update(1)


def stacked(drawn: Iterator[np.ndarray], count: int) -> torch.Tensor:
    """`count` pictures of one size as a batch, without a second copy of them all."""
    first = torch.from_numpy(next(drawn))
    batch = torch.empty((count, *first.shape))
    batch[0] = first
    for number, picture in enumerate(drawn, 1):
        batch[number] = torch.from_numpy(picture)
    return batch
