"""Wan 2.1 and 2.2, and the models that were made from them."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from .toy import Toy, named, only_with_references, randn

NEWER = "comfy.ldm.wan.ar_model"  # came with what reads context_latents
FRAMES, SIDE = 3, 16
GRID = (FRAMES, SIDE // 2, SIDE // 2)  # 192 tokens, a multiple of the six parts of a modulation
UNET = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 64,
    "ffn_dim": 128,
    "num_heads": 2,
    "num_layers": 5,
    "text_dim": 64,
    "in_dim": 16,
    "out_dim": 16,
}
MUSIC = {"music_dim": 32, "music_latent_dim": 32, "music_heads": 2}


def wan(config: str, unet=(), entries=None, **fields) -> Toy:
    """entries: what a conditioning holds with references."""
    unet = UNET | dict(unet)
    if entries:
        fields["extras"] = only_with_references(entries)
    shape = {
        "latent": (unet["out_dim"], FRAMES, SIDE, SIDE),
        "grid": GRID,
        "blocks": named("double", unet["num_layers"]),
    }
    return Toy(**{"family": "wan", "config": config, "unet": unet, "medium": "video", **shape, **fields})


def latents(generator, frames: int = FRAMES, channels: int = 16, side: int = SIDE) -> Tensor:
    return randn(generator, 1, channels, frames, side, side)


def clip_vision(generator):
    return SimpleNamespace(penultimate_hidden_states=randn(generator, 1, 5, 1280))


def all_but_the_first_frame() -> Tensor:
    return torch.cat([torch.zeros(1, 1, 1, SIDE, SIDE), torch.ones(1, 1, FRAMES - 1, SIDE, SIDE)], dim=2)


def phantom(generator):
    return {"time_dim_concat": latents(generator, 2)}


def bernini(generator):
    return {"context_latents": [latents(generator, 1), latents(generator, 1, side=8)]}


def start_image(generator):
    image = {"concat_latent_image": latents(generator), "concat_mask": all_but_the_first_frame()}
    return image | {"clip_vision_output": clip_vision(generator)}


def fun_control(generator):
    return {"concat_latent_image": latents(generator, channels=32), "reference_latents": [latents(generator, 1)]}


def kept_frame(generator):
    return {"denoise_mask": all_but_the_first_frame()}


def fun_5b(generator):
    """Times of three frames for the tokens of four."""
    image = {"concat_latent_image": latents(generator, channels=48), "reference_latents": [latents(generator, 1, 48)]}
    return image | kept_frame(generator)


def vace(generator):
    frames, mask = latents(generator, channels=32), (latents(generator, channels=64) > 0).float()
    return {"vace_frames": [frames], "vace_mask": [mask], "vace_strength": [0.8]}


def camera(generator):
    pixels = randn(generator, 1, 24, FRAMES, SIDE * 8, SIDE * 8)
    return {"concat_latent_image": latents(generator), "camera_conditions": pixels}


def speech(generator):
    return {
        "audio_embed": randn(generator, 1, 25, 32, FRAMES * 4),
        "reference_latents": [latents(generator, 1)],
        "reference_motion": latents(generator, 5),
        "control_video": latents(generator),
    }


def humo(generator):
    return {"audio_embed": randn(generator, 1, FRAMES, 8, 5, 1280), "reference_latents": [latents(generator, 1)]}


def animate(generator):
    faces = {"face_video_pixels": randn(generator, 1, 3, 4, 32, 32), "pose_video_latent": latents(generator, 2)}
    return start_image(generator) | faces


def scail(generator):
    reference, pose = latents(generator, 1), latents(generator, side=SIDE // 2)
    return {
        "clip_vision_output": clip_vision(generator),
        "reference_latents": [reference],
        "pose_video_latent": pose,
    }


def scail2(generator):
    of_reference = torch.zeros(1, FRAMES + 1, 28, SIDE, SIDE)
    of_reference[:, 0] = randn(generator, 28, SIDE, SIDE)
    driving = randn(generator, 1, FRAMES, 28, SIDE // 2, SIDE // 2)
    return scail(generator) | {"ref_mask_28ch": of_reference, "driving_mask_28ch": driving}


def dance(generator):
    heard = {"audio_embed": randn(generator, 1, 12, 35), "clip_vision_output_ref": clip_vision(generator)}
    return start_image(generator) | heard


def animate2(generator):
    return start_image(generator) | {"pose_video_latent": latents(generator, FRAMES - 1)}


class Motion(nn.Module):
    """In place of the encoder of faces, which only takes images of 512 x 512 and is slow on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.direction = nn.Linear(3 * 64, 512)

    def get_motion(self, images: Tensor) -> Tensor:
        return self.direction(nn.functional.adaptive_avg_pool2d(images, 8).flatten(1))


def without_face_encoder(model: nn.Module) -> None:
    model.motion_encoder = Motion()


FUN = {"model_type": "i2v", "in_dim": 48, "in_dim_ref_conv": 16}
FUN_5B = {"in_dim": 100, "out_dim": 48, "in_dim_ref_conv": 48}
VACE = {"model_type": "vace", "num_layers": 6, "vace_layers": 2, "vace_in_dim": 96}
S2V = {"model_type": "s2v", "audio_dim": 32, "audio_inject_layers": [0, 2, 4]}
DANCER = MUSIC | {"model_type": "wandancer", "in_dim": 36, "audio_inject_layers": [0, 2]}
# One frame of reference before the video, and poses of half its size after it, all of which count as the image's.
SCAIL = {"family": "wan_scail", "grid": (1, 1, 192), "reference_grid": (1, 1, 64 + 192 + 48)}


def kind(name: str, in_dim: int = 16) -> dict[str, object]:
    return {"model_type": name, "in_dim": in_dim}


TOYS = {
    "wan": wan("WAN21_T2V", entries=phantom, references="reference frames (Phantom)"),
    "wan21_bernini": wan("WAN21_T2V", entries=bernini, references="context latents (Bernini)", needs=NEWER),
    "wan21_i2v": wan("WAN21_I2V", kind("i2v", 36), start_image, references="start image, CLIP vision"),
    "wan21_fun": wan("WAN21_FunControl2V", FUN, fun_control, references="control video, reference latent (Fun)"),
    "wan22_ti2v": wan("WAN22_T2V", {"in_dim": 48, "out_dim": 48}, kept_frame, references="start image kept by a mask"),
    "wan22_fun_5b": wan("WAN22_T2V", FUN_5B, fun_5b, references="control video, reference latent, mask (Fun)"),
    "wan21_vace": wan("WAN21_Vace", VACE, vace, family="wan_vace", references="control video (VACE)"),
    "wan21_camera": wan(
        "WAN21_Camera", kind("camera", 32), camera, family="wan_vace", references="camera path, start image"
    ),
    "wan22_s2v": wan("WAN22_S2V", S2V, speech, references="audio, reference, motion and control latents"),
    "wan21_humo": wan("WAN21_HuMo", kind("humo"), humo, family="wan_humo", references="audio, reference latent"),
    "wan22_animate": wan(
        "WAN22_Animate",
        kind("animate", 36),
        animate,
        references="face and pose video, start image",
        adjust=without_face_encoder,
    ),
    "wan21_scail": wan("WAN21_SCAIL", kind("scail", 20), scail, **SCAIL, references="reference latent, pose video"),
    "wan21_scail2": wan(
        "WAN21_SCAIL2", kind("scail2", 20), scail2, **SCAIL, references="reference latent, pose video, masks"
    ),
    "wan22_dancer": wan("WAN22_WanDancer", DANCER, dance, references="music, start image, CLIP vision"),
    "wan_animate2": wan(
        "WAN_Animate2",
        kind("animate2", 36),
        animate2,
        family="wan_animate2",
        references="pose video, start image, CLIP vision",
    ),
    "wan21_flow_rvs": wan("WAN21_FlowRVS", kind("flow_rvs"), from_latent=True, token_threshold=0.1),
    "wan21_causal": wan("WAN21_CausalAR_T2V", {"causal_ar": True}),
}
