"""The video demo's diffusion transformer, for training: same parameter names and arithmetic as ComfyUI's Wan 2.1.

Training needs no ComfyUI for it. Everything is fixed by what "Load Diffusion Model" infers from a checkpoint: one head
of 128 for each 128 of width, patches of 1x2x2, queries and keys normed, a norm before cross-attention.
Shapes: video [b, 16, t, h, w], context [b, words, TEXT], sigma [b]; the output is the velocity, noise - video.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from demo.dit import HEAD, rotate, timestep_embedding

CHANNELS, PATCH, TEXT = 16, 2, 64
WIDTH, BLOCKS, HIDDEN = 128, 8, 512
AXES = (HEAD - 4 * (HEAD // 6), 2 * (HEAD // 6), 2 * (HEAD // 6))  # of each head's width, for time, height and width

SAME_PLACE, SAME_FRAME = ((), (0, 1), (0, 1)), ((0, 1), (2, 3), (2, 3))  # what blocks attend to when training begins


def rope_table(frames: int, height: int, width: int) -> Tensor:
    """Rotations [1, 1, frames * height * width, HEAD / 2, 2, 2]."""
    places = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in (frames, height, width)))
    angles = []
    for place, axis in zip(places.T, AXES, strict=True):
        omega = 1.0 / 10000 ** torch.linspace(0, (axis - 2) / axis, axis // 2, dtype=torch.float64)
        angles.append(place[:, None] * omega)
    angle = torch.cat(angles, dim=-1)
    table = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1)
    return rearrange(table, "n d (i j) -> 1 1 n d i j", i=2).float()


class Attention(nn.Module):
    """Queries and keys are normed over the whole width, before they are split into heads."""

    def __init__(self, dim: int):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)

    def forward(self, x: Tensor, context: Tensor, pe: Tensor | None = None) -> Tensor:
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(context)), self.v(context)
        q, k, v = (rearrange(part, "b n (h d) -> b h n d", d=HEAD) for part in (q, k, v))
        if pe is not None:
            q, k = rotate(q, pe).to(v.dtype), rotate(k, pe).to(v.dtype)
        return self.o(rearrange(scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


def attend_near(attention: Attention, sharpness: tuple[tuple[int, ...], ...]) -> None:
    """Begin with attention to tokens nearby, on which training would spend most of its time otherwise.

    sharpness: for time, height and width, which of the axis' rotations (fast ones first) queries and keys begin with;
    the faster, the nearer.
    """
    starts = (0, AXES[0], AXES[0] + AXES[1])
    pairs = [start // 2 + i for start, chosen in zip(starts, sharpness, strict=True) for i in chosen]
    bias = torch.zeros(HEAD // 2, 2)
    bias[pairs] = (HEAD / (2 * len(pairs))) ** 0.5
    for layer in (attention.q, attention.k):
        layer.weight.data *= 0.5
        layer.bias.data = bias.flatten().repeat(len(layer.bias) // HEAD)


class Block(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.self_attn = Attention(dim)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.cross_attn = Attention(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.ffn = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))
        self.modulation = nn.Parameter(torch.zeros(1, 6, dim))

    def forward(self, x: Tensor, e: Tensor, context: Tensor, pe: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + e).chunk(6, dim=1)
        y = self.norm1(x) * (1 + scale1) + shift1
        x = x + gate1 * self.self_attn(y, y, pe)
        x = x + self.cross_attn(self.norm3(x), context)
        return x + gate2 * self.ffn(self.norm2(x) * (1 + scale2) + shift2)


class Head(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.head = nn.Linear(dim, CHANNELS * PATCH * PATCH)
        self.modulation = nn.Parameter(torch.zeros(1, 2, dim))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        shift, scale = (self.modulation + e[:, None]).chunk(2, dim=1)
        return self.head(self.norm(x) * (1 + scale) + shift)


class Wan(nn.Module):
    """Starts as the identity in every block: what leads back into the hidden state is zero, its gates are one.

    Attention starts in turns with the same place in all frames and with what is near in the same frame.
    """

    def __init__(self, dim: int = WIDTH, blocks: int = BLOCKS, hidden: int = HIDDEN):
        super().__init__()
        patch = (1, PATCH, PATCH)
        self.patch_embedding = nn.Conv3d(CHANNELS, dim, patch, patch)
        self.text_embedding = nn.Sequential(nn.Linear(TEXT, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, hidden) for _ in range(blocks))
        self.head = Head(dim)
        for i, block in enumerate(self.blocks):
            block.modulation.data[:, (2, 5)] = 1
            attend_near(block.self_attn, SAME_FRAME if i % 2 else SAME_PLACE)
        leading_back = [(block.self_attn.o, block.cross_attn.o, block.ffn[2]) for block in self.blocks]
        for layer in [self.head.head, self.time_projection[1], *(layer for three in leading_back for layer in three)]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, video: Tensor, context: Tensor, sigma: Tensor) -> Tensor:
        x = self.patch_embedding(video)
        t, h, w = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        e = self.time_embedding(timestep_embedding(sigma * 1000))
        modulation = self.time_projection(e).unflatten(1, (6, -1))
        context, pe = self.text_embedding(context), rope_table(t, h, w)
        for block in self.blocks:
            x = block(x, modulation, context, pe)
        return rearrange(
            self.head(x, e), "b (t h w) (p q c) -> b c t (h p) (w q)", t=t, h=h, w=w, p=PATCH, q=PATCH, c=CHANNELS
        )
