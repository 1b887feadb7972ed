"""Frames of the video demo, whose latents are pixels: each of 16 channels is one pixel of a square of 4x4, in grey."""

from __future__ import annotations

from comfy.latent_formats import Wan21
from comfy_api.latest import io
from einops import rearrange


class FastCacheDemoFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FastCacheDemoFrames",
            display_name="Demo Frames (video)",
            category="fastcache demo",
            description="All frames of the first video, then all of the second, and so on.",
            inputs=[io.Latent.Input("samples")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, samples: dict) -> io.NodeOutput:
        # Samplers hand out what Wan's VAE would take; the model was trained on what it makes of that.
        pixels = Wan21().process_in(samples["samples"])
        frames = rearrange(pixels, "b (p q) t h w -> (b t) (h p) (w q)", p=4, q=4) / 2 + 0.5
        return io.NodeOutput(frames.clamp(0, 1)[..., None].expand(-1, -1, -1, 3))
