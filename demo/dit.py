"""The demo's diffusion transformer, for training: same parameter names and arithmetic as ComfyUI's HunyuanImage 2.1.

ComfyUI's own blocks write into their inputs, which autograd forbids; these return new tensors. Everything else is
fixed by what "Load Diffusion Model" infers from a checkpoint: heads of 128, rope axes [64, 64], MLP ratio 4.
Shapes: image [b, 3, h, w], context [b, t, context_dim], sigma [b]; the output is the velocity, noise - image.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

HEAD = 128


def timestep_embedding(t: Tensor, dim: int = 256) -> Tensor:
    freqs = torch.exp(-math.log(10000) * torch.arange(dim // 2, dtype=torch.float32, device=t.device) / (dim // 2))
    angles = t[:, None].float() * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rope_table(height: int, width: int, text: int, device: torch.device) -> Tensor:
    """Rotations [1, 1, height * width + text, HEAD / 2, 2, 2]; text tokens sit at position (0, 0)."""
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ids = torch.cat([torch.stack([ys, xs], -1).reshape(-1, 2), torch.zeros(text, 2, dtype=torch.long)]).float()
    omega = 1.0 / 256 ** (torch.arange(0, 64, 2, dtype=torch.float64) / 64)
    angles = torch.cat([ids[:, axis, None].double() * omega for axis in (0, 1)], dim=-1)
    table = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=-1)
    return rearrange(table, "n d (i j) -> 1 1 n d i j", i=2).float().to(device)


def rotate(x: Tensor, pe: Tensor) -> Tensor:
    pairs = x.reshape(*x.shape[:-1], -1, 1, 2)
    return (pe[..., 0] * pairs[..., 0] + pe[..., 1] * pairs[..., 1]).reshape(x.shape)


def split_heads(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, d=HEAD)
    return q, k, v


def attend(q: Tensor, k: Tensor, v: Tensor, pe: Tensor | None = None) -> Tensor:
    if pe is not None:
        q, k = rotate(q, pe), rotate(k, pe)
    return rearrange(scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")


class RMSNorm(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, (x.shape[-1],), self.scale, 1e-6)


class QKNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.query_norm, self.key_norm = RMSNorm(HEAD), RMSNorm(HEAD)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.query_norm(q), self.key_norm(k)


class Modulation(nn.Module):
    def __init__(self, dim: int, chunks: int):
        super().__init__()
        self.chunks = chunks
        self.lin = nn.Linear(dim, chunks * dim)
        nn.init.zeros_(self.lin.weight)
        nn.init.zeros_(self.lin.bias)

    def forward(self, vec: Tensor) -> tuple[Tensor, ...]:
        return self.lin(silu(vec))[:, None].chunk(self.chunks, dim=-1)


class Embedder(nn.Module):
    def __init__(self, inner: int, dim: int):
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(inner, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(silu(self.in_layer(x)))


class SelfAttention(nn.Module):
    def __init__(self, dim: int, norm: bool = True):
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        if norm:
            self.norm = QKNorm()


def mlp(dim: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, 4 * dim), activation, nn.Linear(4 * dim, dim))


class DoubleBlock(nn.Module):
    """Image and text with weights of their own, joint attention (image tokens first)."""

    def __init__(self, dim: int):
        super().__init__()
        for stream in ("img", "txt"):
            setattr(self, f"{stream}_mod", Modulation(dim, 6))
            setattr(self, f"{stream}_attn", SelfAttention(dim))
            setattr(self, f"{stream}_mlp", mlp(dim, nn.GELU(approximate="tanh")))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)

    def _qkv(self, x: Tensor, stream: str, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attention = getattr(self, f"{stream}_attn")
        q, k, v = split_heads(attention.qkv(self.norm(x) * (1 + scale) + shift))
        return *attention.norm(q, k), v

    def _finish(self, x: Tensor, stream: str, attended: Tensor, mods: tuple[Tensor, ...]) -> Tensor:
        gate1, shift2, scale2, gate2 = mods[2:]
        x = x + gate1 * getattr(self, f"{stream}_attn").proj(attended)
        return x + gate2 * getattr(self, f"{stream}_mlp")(self.norm(x) * (1 + scale2) + shift2)

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor, pe: Tensor) -> tuple[Tensor, Tensor]:
        img_mods, txt_mods = self.img_mod(vec), self.txt_mod(vec)
        parts = zip(self._qkv(img, "img", *img_mods[:2]), self._qkv(txt, "txt", *txt_mods[:2]), strict=True)
        attended = attend(*(torch.cat(pair, dim=2) for pair in parts), pe)
        n = img.shape[1]
        return self._finish(img, "img", attended[:, :n], img_mods), self._finish(txt, "txt", attended[:, n:], txt_mods)


class SingleBlock(nn.Module):
    """One sequence, attention and MLP in parallel (arXiv 2302.05442)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.linear1, self.linear2 = nn.Linear(dim, 7 * dim), nn.Linear(5 * dim, dim)
        self.norm, self.modulation = QKNorm(), Modulation(dim, 3)
        self.pre_norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)

    def forward(self, x: Tensor, vec: Tensor, pe: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(vec)
        qkv, hidden = self.linear1(self.pre_norm(x) * (1 + scale) + shift).split([3 * self.dim, 4 * self.dim], dim=-1)
        q, k, v = split_heads(qkv)
        attended = attend(*self.norm(q, k), v, pe)
        return x + gate * self.linear2(torch.cat([attended, nn.functional.gelu(hidden, approximate="tanh")], dim=-1))


class RefinerBlock(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.self_attn = SelfAttention(dim, norm=False)
        self.mlp = mlp(dim, nn.SiLU())

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        gate1, gate2 = self.adaLN_modulation(c)[:, None].chunk(2, dim=-1)
        x = x + gate1 * self.self_attn.proj(attend(*split_heads(self.self_attn.qkv(self.norm1(x)))))
        return x + gate2 * self.mlp(self.norm2(x))


class TokenRefiner(nn.Module):
    def __init__(self, context_dim: int, dim: int):
        super().__init__()
        self.input_embedder = nn.Linear(context_dim, dim)
        self.t_embedder, self.c_embedder = Embedder(256, dim), Embedder(context_dim, dim)
        self.individual_token_refiner = nn.ModuleDict({"blocks": nn.ModuleList(RefinerBlock(dim) for _ in range(2))})

    def forward(self, context: Tensor, t: Tensor) -> Tensor:
        c = self.t_embedder(timestep_embedding(t)) + self.c_embedder(context.mean(dim=1))
        x = self.input_embedder(context)
        for block in self.individual_token_refiner["blocks"]:
            x = block(x, c)
        return x


class LastLayer(nn.Module):
    def __init__(self, dim: int, out: int):
        super().__init__()
        self.norm_final = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(dim, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)
        return self.linear(self.norm_final(x) * (1 + scale) + shift)


class DiT(nn.Module):
    def __init__(self, dim: int = 128, doubles: int = 4, singles: int = 12, context_dim: int = 64, patch: int = 4):
        super().__init__()
        self.patch = patch
        self.img_in = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, patch)})
        self.time_in = Embedder(256, dim)
        self.txt_in = TokenRefiner(context_dim, dim)
        self.double_blocks = nn.ModuleList(DoubleBlock(dim) for _ in range(doubles))
        self.single_blocks = nn.ModuleList(SingleBlock(dim) for _ in range(singles))
        self.final_layer = LastLayer(dim, 3 * patch * patch)

    def forward(self, image: Tensor, context: Tensor, sigma: Tensor) -> Tensor:
        t = sigma * 1000
        img = self.img_in["proj"](image)
        h, w = img.shape[-2:]
        img = img.flatten(2).transpose(1, 2)
        vec, txt = self.time_in(timestep_embedding(t)), self.txt_in(context, t)
        pe = rope_table(h, w, txt.shape[1], image.device)
        for block in self.double_blocks:
            img, txt = block(img, txt, vec, pe)
        x = torch.cat([img, txt], dim=1)
        for block in self.single_blocks:
            x = block(x, vec, pe)
        x = self.final_layer(x[:, : h * w], vec)
        return rearrange(x, "b (h w) (c p q) -> b c (h p) (w q)", h=h, c=3, p=self.patch)


@torch.no_grad()
def sample(model: nn.Module, noise: Tensor, context: Tensor, empty: Tensor, steps: int, cfg: float) -> Tensor:
    """Euler from sigma 1 to 0 with classifier-free guidance; returns images in the training scale."""
    x, sigmas = noise, torch.linspace(1, 0, steps + 1)
    for now, then in zip(sigmas[:-1], sigmas[1:], strict=True):
        both = model(torch.cat([x, x]), torch.cat([context, empty]), now.expand(2 * len(x)))
        cond, uncond = both.chunk(2)
        x = x + (then - now) * (uncond + cfg * (cond - uncond))
    return x
