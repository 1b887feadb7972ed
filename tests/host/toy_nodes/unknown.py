"""Diffusion transformers that no adapter of FastCache knows, as a newer ComfyUI might bring them."""

from __future__ import annotations

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from comfy_api.latest import io
from torch import Tensor, nn

from .registry import toy_node

WIDTH, PATCH = 64, 2


class Layer(nn.Module):
    """Self-attention and MLP over one stream."""

    def __init__(self, operations, device, dtype):
        super().__init__()
        self.qkv = operations.Linear(WIDTH, 3 * WIDTH, device=device, dtype=dtype)
        self.mlp = operations.Linear(WIDTH, WIDTH, device=device, dtype=dtype)

    def mixed(self, x: Tensor, temb: Tensor) -> Tensor:
        q, k, v = self.qkv(x + temb).chunk(3, dim=-1)
        return nn.functional.scaled_dot_product_attention(q, k, v)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        x = x + self.mixed(x, temb)
        return x + torch.tanh(self.mlp(x))


class TwoStreams(Layer):
    """Takes image and text, returns text and image."""

    def forward(self, hidden: Tensor, temb: Tensor, *, text: Tensor) -> tuple[Tensor, Tensor]:
        both = super().forward(torch.cat([text, hidden], dim=1), temb)
        return both[:, : text.shape[1]], both[:, text.shape[1] :]


class Tupled(Layer):
    """Returns a tuple of one, as language models' layers do."""

    def forward(self, x: Tensor, temb: Tensor) -> tuple[Tensor]:
        return (super().forward(x, temb),)


class InPlace(Layer):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        x += self.mixed(x, temb)
        return x.add_(torch.tanh(self.mlp(x)))


class OnGrid(Layer):
    """Takes tokens in rows and columns."""

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return super().forward(x.flatten(1, 2), temb).unflatten(1, x.shape[1:3])


class Growing(Layer):
    """Returns a token more than it is given."""

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return super().forward(torch.cat([x, x[:, -1:]], dim=1), temb)


class Packed(Layer):
    """Takes the batch as one row of tokens."""

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return super().forward(x[None], temb[:1])[0]


class Prefixed(Layer):
    """Sees text by itself, or the image behind keys and values of such text."""

    def forward(self, x: Tensor, temb: Tensor, prefix: list[Tensor], fills: bool = False) -> Tensor:
        if fills:
            prefix.append(x)
        seen = super().forward(torch.cat([prefix[-1], x], dim=1), temb)
        return seen[:, -x.shape[1] :]


LAYERS = {
    "one stream": Layer,
    "two streams": TwoStreams,
    "in place": InPlace,
    "tupled": Tupled,
    "on a grid": OnGrid,
    "two lists": TwoStreams,
    "behind a prefix": Prefixed,
    "growing": Growing,
    "packed": Packed,
}


class UnknownDiT(nn.Module):
    def __init__(self, kind: str, device=None, dtype=None, operations=None, **kwargs):
        super().__init__()
        self.kind, self.dtype = kind, dtype
        own = (operations, device, dtype)
        self.enter = operations.Linear(16 * PATCH**2, WIDTH, device=device, dtype=dtype)
        self.text, self.time = (operations.Linear(n, WIDTH, device=device, dtype=dtype) for n in (64, 1))
        self.leave = operations.Linear(WIDTH, 16 * PATCH**2, device=device, dtype=dtype)
        self.stages = nn.ModuleDict({"main": nn.ModuleList(LAYERS[kind](*own) for _ in range(5))})
        if kind == "two lists":
            self.later = nn.ModuleList(Layer(*own) for _ in range(6))

    def forward(self, x, timestep, context, transformer_options=None, **kwargs):
        rows, _, height, width = x.shape
        h = nn.functional.pixel_unshuffle(x, PATCH)
        grid = h.shape[-2:]
        h, text = self.enter(h.flatten(2).transpose(1, 2)), self.text(context)
        h = self.leave(self.stack(h, text, self.time(timestep[:, None, None]), grid))
        h = h[:, : grid[0] * grid[1]].transpose(1, 2).unflatten(2, grid)
        return nn.functional.pixel_shuffle(h, PATCH)

    def stack(self, h: Tensor, text: Tensor, temb: Tensor, grid: tuple[int, int]) -> Tensor:
        blocks, rows, tokens = self.stages["main"], len(h), h.shape[1]
        if self.kind in ("two streams", "two lists"):
            for block in blocks:
                text, h = block(h, temb, text=text)
            h = torch.cat([h, text], dim=1)
            for block in self.later if self.kind == "two lists" else ():
                h = block(h, temb)
            return h[:, :tokens]
        if self.kind == "behind a prefix":
            return self.behind_prefix(h, text, temb)
        h = h + text.mean(dim=1, keepdim=True)
        h = h.unflatten(1, grid) if self.kind == "on a grid" else h.flatten(0, 1) if self.kind == "packed" else h
        for block in blocks:
            h = block(h, temb)
            h = h[0] if self.kind == "tupled" else h
        return h.unflatten(0, (rows, tokens)) if self.kind == "packed" else h.flatten(1, -2)

    def behind_prefix(self, h: Tensor, text: Tensor, temb: Tensor) -> Tensor:
        """Text and image go through every block in turn."""
        for block in self.stages["main"]:
            prefix: list[Tensor] = []
            text = block(text, temb, prefix, fills=True)
            h = block(h, temb, prefix)
        return h


class UnknownModel(comfy.model_base.BaseModel):
    def __init__(self, model_config):
        super().__init__(model_config, comfy.model_base.ModelType.FLOW, unet_model=UnknownDiT)

    def extra_conds(self, **kwargs):
        context = comfy.conds.CONDRegular(kwargs["cross_attn"])
        return super().extra_conds(**kwargs) | {"c_crossattn": context}


class UnknownConfig(comfy.supported_models_base.BASE):
    latent_format = comfy.latent_formats.Flux
    sampling_settings = {"shift": 3.0}
    unet_extra_config = {}


@toy_node("UnknownModel", [io.Combo.Input("kind", options=list(LAYERS))], [io.Model.Output()])
def unknown_model(kind: str) -> comfy.model_patcher.ModelPatcher:
    config = UnknownConfig({"kind": kind, "in_channels": 16})
    config.set_inference_dtype(torch.float32, None)
    model = UnknownModel(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.diffusion_model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 8
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, device, device)
