"""What a toy-sized model of a family is made of, and what is sampled with it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Extras = Callable[[torch.Generator, bool], dict[str, Any]]


def nothing(generator: torch.Generator, references: bool) -> dict[str, Any]:
    return {}


def only_with_references(entries: Callable[[torch.Generator], dict[str, Any]]) -> Extras:
    """Entries of a conditioning that are left out without references."""
    return lambda generator, references: entries(generator) if references else {}


def randn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator)


def reference_latents(*shape: int, **others: Any) -> Extras:
    """One reference latent of this shape, with other entries that go with it."""
    return only_with_references(lambda generator: {"reference_latents": [randn(generator, *shape)], **others})


@dataclass(frozen=True)
class Toy:
    """A model of few and narrow blocks with random weights, from ComfyUI's own classes.

    family: name of the adapter it belongs to, None where there is none. config: its class in comfy.supported_models.
    unet: its unet_config; entries that older versions do not know are left out where `parameters` names the dataclass
    (module, class) that they are read into. latent: shape of one sample's latent, [channels, (frames,) rows, columns].
    along: shapes of others that are sampled with it in one nested latent, such as sound. grid: its image tokens as
    (frames, rows, columns), one row of all tokens where they have no grid; reference_grid: the same with references,
    where these make it another one. blocks: names of its blocks, in order. latent_format: one of comfy.latent_formats
    in place of its own. context: shape of one text embedding [tokens, width]; pooled: width of the pooled one. extras:
    further entries of a conditioning, from a random generator, with or without reference or control tokens. references:
    what those are, None where it takes none. alone: whether a call of the model may have one sample only, "always" or
    with "references", because ComfyUI fails otherwise. medium: image, video, audio or 3d. needs: a module the host must
    have, besides the configuration. adjust: what is done to the model before its weights are drawn, such as making
    parts small that no setting makes small. weights: what the configuration reads from a checkpoint to build the model.
    from_latent: whether sampling starts from the latent itself, not from noise, so that it must not be empty.
    token_threshold: one at which some of its tokens are selected, but not all.
    """

    family: str | None
    config: str
    unet: dict[str, Any]
    latent: tuple[int, ...]
    along: tuple[tuple[int, ...], ...] = field(default=(), kw_only=True)
    grid: tuple[int, int, int] = (1, 1, 1)
    blocks: tuple[str, ...] = ()
    latent_format: str | None = None
    parameters: tuple[str, str] | None = None
    context: tuple[int, int] = (6, 64)
    pooled: int = 32
    extras: Extras = field(default=nothing)
    references: str | None = None
    reference_grid: tuple[int, int, int] | None = None
    alone: str = ""
    medium: str = "image"
    needs: str | None = None
    adjust: Callable[[nn.Module], None] = lambda model: None
    weights: Callable[[], dict[str, Tensor]] = dict
    from_latent: bool = False
    token_threshold: float = 0.02

    def why_not_here(self) -> str | None:
        """Why this ComfyUI cannot build it, or None."""
        import comfy.supported_models

        if not hasattr(comfy.supported_models, self.config):
            return f"this ComfyUI has no {self.config}"
        try:
            importlib.import_module(self.needs or "torch")
        except ImportError:
            return f"this ComfyUI has no {self.needs}"
        return None


def named(label: str, n: int) -> tuple[str, ...]:
    """("double 0", "double 1", ...)."""
    return tuple(f"{label} {i}" for i in range(n))
