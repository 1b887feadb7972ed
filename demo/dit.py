"""The demo's diffusion transformers, for training: same parameter names and arithmetic as ComfyUI's.

`DiT` is HunyuanImage 2.1, `EditDiT` Flux with reference tokens, as in Flux Kontext, `ReferencesDiT` the same with
references free of noise, as in Flux.2; all have the same blocks.
ComfyUI's own blocks write into their inputs, which autograd forbids; these return new tensors. Everything else of DiT
is fixed by what "Load Diffusion Model" infers from a checkpoint: heads of 128, rope axes [64, 64], MLP ratio 4.
Shapes: image [b, 3, h, w], context [b, t, context_dim], sigma [b]; the output is the velocity, noise - image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

HEAD = 128


def timestep_embedding(t: Tensor, dim: int = 256) -> Tensor:
    freqs = torch.exp(-math.log(10000) * torch.arange(dim // 2, dtype=torch.float32, device=t.device) / (dim // 2))
    angles = t[:, None].float() * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def grid_positions(height: int, width: int, before: tuple[int, ...] = ()) -> Tensor:
    """Positions [height * width, axes] of a picture's tokens: the given ones, then row and column."""
    grid = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    return torch.cat([torch.tensor(before, dtype=torch.long).expand(len(grid), -1), grid], dim=1)


def rope_table(positions: Tensor, text: int, dims: Sequence[int], theta: int) -> Tensor:
    """Rotations [1, 1, tokens + text, HEAD / 2, 2, 2]; axis i takes dims[i] of HEAD; text tokens sit at the origin."""
    positions = torch.cat([positions, positions.new_zeros(text, len(dims))]).double()
    omegas = [1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim) for dim in dims]
    angles = torch.cat([positions[:, axis, None] * omega for axis, omega in enumerate(omegas)], dim=-1)
    table = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=-1)
    return rearrange(table, "n d (i j) -> 1 1 n d i j", i=2).float()


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

    def forward(self, vec: Tensor, which: Tensor) -> tuple[Tensor, ...]:
        """vec [b, k, dim]: of k timesteps; which [tokens, or 1 for all]: of these, each token's."""
        return self.lin(silu(vec))[:, which].chunk(self.chunks, dim=-1)


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

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor, which: Tensor, pe: Tensor) -> tuple[Tensor, Tensor]:
        img_mods, txt_mods = self.img_mod(vec, which[: img.shape[1]]), self.txt_mod(vec, which[:1])
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

    def forward(self, x: Tensor, vec: Tensor, which: Tensor, pe: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(vec, which)
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
    """HunyuanImage 2.1: two axes of positions, a refiner of the text."""

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
        img = self.img_in["proj"](image).flatten(2).transpose(1, 2)
        grid = self.grid(image)
        pe = rope_table(grid_positions(*grid), context.shape[1], (64, 64), 256)
        return self.velocity(img, self.txt_in(context, sigma * 1000), sigma, pe, grid)

    def grid(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of an image's tokens."""
        return image.shape[-2] // self.patch, image.shape[-1] // self.patch

    def velocity(
        self, img: Tensor, txt: Tensor, sigma: Tensor, pe: Tensor, grid: tuple[int, int], clean: bool = False
    ) -> Tensor:
        """What the blocks and the head make of the tokens, those of the image first among img; clean: whether the
        others are modulated as at timestep zero."""
        (h, w), pe = grid, pe.to(img.device)
        times = torch.stack([sigma, 0 * sigma] if clean else [sigma], dim=1)
        vec = self.time_in(timestep_embedding(times.flatten() * 1000)).unflatten(0, times.shape)
        which = torch.zeros(img.shape[1] + txt.shape[1] if clean else 1, dtype=torch.long, device=img.device)
        if clean:
            which[h * w : img.shape[1]] = 1
        for block in self.double_blocks:
            img, txt = block(img, txt, vec, which, pe)
        x = torch.cat([img, txt], dim=1)
        for block in self.single_blocks:
            x = block(x, vec, which, pe)
        x = self.final_layer(x[:, : h * w], vec[:, 0])
        return rearrange(x, "b (h w) (c p q) -> b c (h p) (w q)", h=h, c=3, p=self.patch)


class EditDiT(DiT):
    """Flux with reference tokens: references [b, 3, h, w] have the image's positions, but on the first of three axes.

    CONFIG is the unet_config that ComfyUI's class is built from. Its theta gives rows and columns the frequencies that
    they have in DiT, without the four lowest of each, whose places the first axis takes.
    """

    CONFIG = {
        "image_model": "flux",
        "in_channels": 3,
        "out_channels": 3,
        "vec_in_dim": None,
        "context_in_dim": 64,
        "hidden_size": 128,
        "mlp_ratio": 4.0,
        "num_heads": 1,
        "depth": 4,
        "depth_single_blocks": 12,
        "axes_dim": [16, 56, 56],
        "theta": 128,
        "patch_size": 4,
        "qkv_bias": True,
        "guidance_embed": False,
        "txt_ids_dims": [],
    }
    CLEAN = False  # whether references are modulated as at timestep zero

    def __init__(self):
        config = self.CONFIG
        dim, patch, context_dim = config["hidden_size"], config["patch_size"], config["context_in_dim"]
        super().__init__(dim, config["depth"], config["depth_single_blocks"], context_dim, patch)
        self.img_in, self.txt_in = nn.Linear(3 * patch * patch, dim), nn.Linear(context_dim, dim)

    def forward(self, image: Tensor, context: Tensor, sigma: Tensor, references: Sequence[Tensor]) -> Tensor:
        pictures, grid = [image, *references], self.grid(image)
        img = torch.cat([self.img_in(self.patches(picture)) for picture in pictures], dim=1)
        positions = torch.cat([grid_positions(*grid, before=(place,)) for place in range(len(pictures))])
        pe = rope_table(positions, context.shape[1], self.CONFIG["axes_dim"], self.CONFIG["theta"])
        return self.velocity(img, self.txt_in(context), sigma, pe, grid, self.CLEAN)

    def patches(self, image: Tensor) -> Tensor:
        return rearrange(image, "b c (h p) (w q) -> b (h w) (c p q)", p=self.patch, q=self.patch)


class ReferencesDiT(EditDiT):
    """The same with references as Flux.2 and Qwen-Image-Edit 2511 have them: each at a place of its own on the first
    axis, and without noise for the model."""

    CONFIG = EditDiT.CONFIG | {"default_ref_method": "index"}
    CLEAN = True


@torch.no_grad()
def sample(model: nn.Module, noise: Tensor, context: Tensor, empty: Tensor, steps: int, cfg: float) -> Tensor:
    """Euler from sigma 1 to 0 with classifier-free guidance; returns images in the training scale."""
    x, sigmas = noise, torch.linspace(1, 0, steps + 1)
    for now, then in zip(sigmas[:-1], sigmas[1:], strict=True):
        both = model(torch.cat([x, x]), torch.cat([context, empty]), now.expand(2 * len(x)))
        cond, uncond = both.chunk(2)
        x = x + (then - now) * (uncond + cfg * (cond - uncond))
    return x
