"""The demo's model with two references: a Flux whose reference tokens are modulated as at timestep zero.

Newer ComfyUI versions have that for Flux.2, older ones for no Flux: hence a class of the demo's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.flux.layers import DoubleStreamBlock, SingleStreamBlock, apply_mod, timestep_embedding
from comfy.ldm.flux.model import Flux
from torch import Tensor

Places = list[tuple[int, int | None, Any]]  # from, up to, and which modulation holds there


def takes_batches() -> bool:
    """Whether ComfyUI's blocks take a modulation by its number for batches too, which 0.3.x only do for one sample."""
    try:
        apply_mod(torch.ones(2, 3, 1), torch.ones(2, 2, 1), None, [(0, 3, 0)])
    except RuntimeError:
        return False
    return True


NOISY, CLEAN = (0, 1) if takes_batches() else (slice(0, 1), slice(1, 2))  # of the two modulations


class CleanReferenceFlux(Flux):
    """forward_orig is what Flux calls with tokens of the image and its references in a row.

    It is for the demo's weights: no pooled text, no guidance embedding, no ControlNet, and of patches those of blocks.
    """

    def forward_orig(
        self,
        img: Tensor,
        img_ids: Tensor,
        txt: Tensor,
        txt_ids: Tensor,
        timesteps: Tensor,
        y: Tensor | None = None,
        guidance: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] = {},  # noqa: B006, as ComfyUI's own has it
        attn_mask: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """img [b, tokens, 3 p p] and txt [b, words, 64] -> the image's velocity in patches."""
        noisy = int((img_ids[0, :, 0] == 0).sum())  # references have other places on the first axis
        words = txt.shape[1]
        img, txt = self.img_in(img), self.txt_in(txt)
        times = torch.stack([timesteps, torch.zeros_like(timesteps)], dim=1).flatten()
        vec = self.time_in(timestep_embedding(times, 256).to(img.dtype)).unflatten(0, (-1, 2))
        pe = self.pe_embedder(torch.cat([txt_ids, img_ids], dim=1))
        shared = {"pe": pe, "attn_mask": attn_mask, "transformer_options": transformer_options, "vec": vec}
        patches = transformer_options.get("patches_replace", {}).get("dit", {})
        for i, block in enumerate(self.double_blocks):
            run = functools.partial(double, block, [(0, noisy, NOISY), (noisy, None, CLEAN)])
            out = patched(patches.get(("double_block", i)), {"img": img, "txt": txt, **shared}, run)
            img, txt = out["img"], out["txt"]
        x = torch.cat([txt, img], dim=1)
        for i, block in enumerate(self.single_blocks):
            run = functools.partial(single, block, [(0, words + noisy, NOISY), (words + noisy, None, CLEAN)])
            x = patched(patches.get(("single_block", i)), {"img": x, **shared}, run)["img"]
        return self.final_layer(x[:, words : words + noisy], vec[:, 0])


def double(block: DoubleStreamBlock, places: Places, args: dict[str, Any]) -> dict[str, Tensor]:
    img, txt = block(**args, modulation_dims_img=places, modulation_dims_txt=[(0, None, NOISY)])
    return {"img": img, "txt": txt}


def single(block: SingleStreamBlock, places: Places, args: dict[str, Any]) -> dict[str, Tensor]:
    others = {name: value for name, value in args.items() if name != "img"}
    return {"img": block(args["img"], **others, modulation_dims=places)}


def patched(patch: Callable | None, args: dict[str, Any], run: Callable) -> dict[str, Tensor]:
    """What a block returns; ComfyUI's patches take its place and are not given the places of modulations."""
    return run(args) if patch is None else patch(args, {"original_block": run})
