"""MiniMax Music, whose widths are fixed: its parts are made anew, and its windows so short that the sound has three."""

import torch
from torch import nn

from .toy import Toy, named

WIDTH, LENGTH = 64, 50


def narrow(model):
    import comfy.ldm.minimax_music.dit as dit
    import comfy.ops

    dit.MAX_CONDITION_FRAMES, dit.CONDITION_HOP_FRAMES = 8, 4
    own, ops = {"dtype": torch.float32, "device": None}, comfy.ops.disable_weight_init
    transformer, inner = model.diffusion_transformer, model.diffusion_transformer.transformer
    inner.project_in = ops.Linear(2304, WIDTH, bias=False, **own)
    inner.project_out = ops.Linear(WIDTH, 128, bias=False, **own)
    inner.rotary_pos_emb = dit.RotaryEmbedding(16, **own)
    inner.layers = nn.ModuleList(dit.TransformerBlock(WIDTH, 32, 128, operations=ops, **own) for _ in range(4))
    transformer.timestep_features = dit.FourierFeatures(1, 32, **own)
    transformer.to_timestep_embed = ops.Linear(32, WIDTH, **own)
    # Buffers come with the weights of a real model.
    inner.rotary_pos_emb.inv_freq.data = 10000.0 ** -torch.linspace(0, 1, 8)
    for module in model.modules():
        if isinstance(module, dit.LayerNorm):
            module.beta.zero_()


def heard(generator, references):
    return {"conditioning_scale": torch.ones(1, 1, 1)}


TOYS = {
    "minimax_music": Toy(
        family="minimax_music",
        config="MiniMaxMusic3",
        unet={"audio_model": "minimax_music3"},
        latent=(128, LENGTH),
        grid=(1, 1, 28),  # a window and the token before it
        blocks=named("layer", 4),
        context=(16, 8 * 4096),
        extras=heard,
        medium="audio",
        adjust=narrow,
    )
}
