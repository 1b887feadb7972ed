"""LTX-Video, and LTX-2, which samples sound along.

LTX-Video's references are frames of the latent itself, at the end, with positions and noise of their own.
"""

from dataclasses import replace

import torch

from .toy import Toy, named, randn

FRAMES, SIDE = 3, 8
UNET = {
    "image_model": "ltxv",
    "in_channels": 128,
    "cross_attention_dim": 64,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "caption_channels": 64,
    "num_layers": 5,
    "causal_temporal_positioning": True,
}

# Of LTX-2.3: text that is modulated too, positions in halves and in the middle of patches. Older versions ignore these.
NEWER = UNET | {
    "cross_attention_adaln": True,
    "rope_type": "split",
    "frequencies_precision": "float64",
    "use_middle_indices_grid": True,
}
SOUND = {
    "image_model": "ltxav",
    "cross_attention_dim": 64,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "audio_cross_attention_dim": 32,
    "audio_attention_head_dim": 16,
    "audio_num_attention_heads": 2,
    "caption_channels": 32,
    "num_layers": 4,
    "causal_temporal_positioning": True,
    "use_middle_indices_grid": True,
    "apply_gated_attention": True,
    "cross_attention_adaln": True,
    "rope_type": "split",
    "connector_attention_head_dim": 8,
    "connector_num_attention_heads": 2,
    "connector_num_layers": 1,
}


def guide(generator, references):
    """The last frame guides the others: it has no noise, and stands at the time of the first one."""
    padded = {"attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]])}
    if not references:
        return padded
    import comfy.ldm.lightricks.model as ltxv

    frame = ltxv.SymmetricPatchifier(1).get_latent_coords(1, SIDE, SIDE, 1, None)
    positions = (frame * torch.tensor([8, 32, 32])[None, :, None]).float()
    if hasattr(ltxv, "LTXBaseModel"):  # newer versions have where patches start and where they end
        positions = torch.stack((positions, positions + torch.tensor([1, 32, 32])[None, :, None]), -1)
    noisy = torch.ones(1, 1, FRAMES, SIDE, SIDE)
    noisy[:, :, -1] = 0
    return padded | {"keyframe_idxs": positions, "concat_mask": noisy}


def faint_guide(generator, references):
    """The guide counts half in attention, which newer versions then do in two parts."""
    entry = {"pre_filter_count": SIDE * SIDE, "strength": 0.5, "pixel_mask": None, "latent_shape": [1, SIDE, SIDE]}
    return guide(generator, references) | ({"guide_attention_entries": [entry]} if references else {})


def heard(generator, references):
    return {"ref_audio": {"tokens": randn(generator, 1, 3, 128)}} if references else {}


def first_frame(generator, references):
    """The first frame is given: it has no noise, and modulations of its own."""
    noisy = torch.ones(1, 1, 2, 6, 6)
    noisy[:, :, 0] = 0
    return {"concat_mask": noisy} if references else {}


TOYS = {
    "ltxv": Toy(
        family="ltxv",
        config="LTXV",
        unet=UNET,
        latent=(128, FRAMES, SIDE, SIDE),
        grid=(FRAMES, SIDE, SIDE),
        blocks=named("double", 5),
        extras=guide,
        references="guiding frame, noise of its own",
        medium="video",
    ),
    "ltxav": Toy(
        family="ltxav",
        config="LTXAV",
        unet=SOUND,
        latent=(128, 2, 6, 6),
        along=((8, 7, 16),),
        grid=(1, 1, 72),
        blocks=named("double", 4),
        extras=heard,
        references="sound to resemble",
        medium="video",
    ),
}
TOYS["ltxv_newer"] = replace(
    TOYS["ltxv"], unet=NEWER, extras=faint_guide, references="guiding frame, attended to by half"
)
TOYS["ltxav_mute"] = replace(
    TOYS["ltxav"],
    along=(),
    grid=(2, 6, 6),
    extras=first_frame,
    references="first frame, modulations of its own",
)
