"""The linear maps A of the learnable linear approximation, y = h + r_a + A (h - h_a).

FastCache (arXiv 2505.20353) replaces a block by a learned linear map of its input. Here the map is re-centred at every
anchor a: what is learned is how the residual r = block(h) - h changes with the hidden state, r - r_a ~ A (h - h_a), so
that a prediction is exact at its anchor whatever A is, and A = 0 is residual reuse. h is [samples, tokens, width]; all
tokens share one A. From cheap to dear: a factor per channel, a product of two narrow matrices, a full matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

DTYPES = (torch.float16, torch.bfloat16, torch.float32)

# Pull of the online fit towards zero, as part of the channels' mean sum of squares: a channel with a thousandth of the
# mean's gets half of its factor, since rounding is a large part of what was seen of it. Chosen, not measured.
RIDGE = 1e-3
FORGETTING = 0.5  # what the online fit keeps of its sums at every update
TINY = 1e-12


class LinearMap:
    """What all maps share: `map(h)` is A h, a new tensor shaped like h. Frozen; its tensors are not written to.

    The map's tensors and h have one dtype and one device, see `to`. In float16, what lies between the two matrices of a
    low-rank map must stay below 65504 too.
    """

    kind: ClassVar[str]
    layout: ClassVar[dict[str, tuple[str, ...]]]  # names of the tensors and of their dimensions

    def __post_init__(self) -> None:
        """ValueError when tensors are not float16, bfloat16 or float32, or do not fit each other."""
        tensors, sizes = self.tensors(), {}
        for name, tensor in tensors.items():
            _check_dtype(name, tensor)
            axes = self.layout[name]
            if len(axes) != tensor.ndim or not all(
                size > 0 and sizes.setdefault(axis, size) == size for axis, size in zip(axes, tensor.shape, strict=True)
            ):
                needed = ", ".join(f"{n} [{', '.join(axes)}]" for n, axes in self.layout.items())
                raise ValueError(f"{name} has the shape {list(tensor.shape)}, but a {self.kind} map needs {needed}.")
        if len({(tensor.dtype, tensor.device) for tensor in tensors.values()}) > 1:
            found = ", ".join(f"{name} is {t.dtype} on {t.device}" for name, t in tensors.items())
            raise ValueError(f"A map has one dtype and one device, but {found}; move them to one.")

    def __call__(self, h: Tensor) -> Tensor:
        """A h for every token: h [..., width] -> [..., width]. ValueError when h has another width, dtype or device."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        raise NotImplementedError

    def describe(self) -> str:
        """The kind of map in a few words, for reports."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """The map's tensors by name; `from_tensors` is the way back."""
        return {name: getattr(self, name) for name in self.layout}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LinearMap:
        """The map of these tensors. ValueError when names or shapes are not those of the kind."""
        if set(tensors) != set(cls.layout):
            found = ", ".join(sorted(tensors)) or "nothing"
            raise ValueError(f"A {cls.kind} map is made of {', '.join(cls.layout)}, but got {found}.")
        return cls(**tensors)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> LinearMap:
        """A copy on the hidden state's device in its dtype; the map itself where it is already there."""
        tensors = self.tensors()
        moved = {name: tensor.to(device, dtype) for name, tensor in tensors.items()}
        return self if all(moved[name] is tensors[name] for name in tensors) else type(self)(**moved)

    def _check_input(self, h: Tensor, own: Tensor) -> None:
        """Multiplication would broadcast and promote in silence, and return something that is not like h."""
        if h.shape[-1] != self.width:
            raise ValueError(f"The map is {self.width} wide, but the hidden state is {h.shape[-1]} wide.")
        if (h.dtype, h.device) != (own.dtype, own.device):
            raise ValueError(
                f"The map is {own.dtype} on {own.device}, but the hidden state is {h.dtype} on {h.device}; "
                "move the map there with to()."
            )


def _check_dtype(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} is {type(tensor).__name__}, but it must be a tensor.")
    if tensor.dtype not in DTYPES:
        raise ValueError(f"{name} is {tensor.dtype}, but it must be float16, bfloat16 or float32; cast it first.")


@dataclass(frozen=True, eq=False)
class PerChannel(LinearMap):
    """A = diag(scale): every channel of the residual follows its own channel of the hidden state. scale [width]."""

    kind: ClassVar[str] = "per_channel"
    layout: ClassVar[dict[str, tuple[str, ...]]] = {"scale": ("width",)}
    scale: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        self._check_input(h, self.scale)
        return h * self.scale

    @property
    def width(self) -> int:
        return len(self.scale)

    def describe(self) -> str:
        return "per channel"


@dataclass(frozen=True, eq=False)
class LowRank(LinearMap):
    """A = up @ down, in 2 * rank * width multiplications a token. up [width, rank], down [rank, width]."""

    kind: ClassVar[str] = "low_rank"
    layout: ClassVar[dict[str, tuple[str, ...]]] = {"up": ("width", "rank"), "down": ("rank", "width")}
    up: Tensor
    down: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        self._check_input(h, self.up)
        return linear(linear(h, self.down), self.up)

    @property
    def width(self) -> int:
        return len(self.up)

    def describe(self) -> str:
        return f"rank {len(self.down)}"


@dataclass(frozen=True, eq=False)
class Full(LinearMap):
    """A = matrix, in width^2 multiplications a token. matrix [width, width], a row per output channel."""

    kind: ClassVar[str] = "full"
    layout: ClassVar[dict[str, tuple[str, ...]]] = {"matrix": ("width", "width")}
    matrix: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        self._check_input(h, self.matrix)
        return linear(h, self.matrix)

    @property
    def width(self) -> int:
        return len(self.matrix)

    def describe(self) -> str:
        return "full matrix"


KINDS: dict[str, type[LinearMap]] = {kind.kind: kind for kind in (PerChannel, LowRank, Full)}


class OnlinePerChannel:
    """A per-channel map learned while sampling, from how the residual changed between two computed evaluations.

    Ridge regression of each channel of dr on the same channel of dh:  scale = sum(dr dh) / (sum(dh dh) + ridge),  both
    sums over samples and tokens in float32, with exponential forgetting. Stays on the device of what it is given and
    never waits for it.
    """

    def __init__(self):
        self._products: Tensor | None = None  # sum(dr dh), [width]
        self._squares: Tensor | None = None  # sum(dh dh), [width]

    def update(self, dh: Tensor, dr: Tensor) -> None:
        """Learn from one pair of evaluations: changes of hidden state and residual, both [samples, tokens, width].

        Channels with an infinity or a NaN in them keep what they had. ValueError when the shapes differ, or the width
        is not that of the update before.
        """
        if dh.shape != dr.shape or dh.ndim != 3:
            raise ValueError(
                f"dh has the shape {list(dh.shape)} and dr {list(dr.shape)}, "
                "but both must have the same [samples, tokens, width]."
            )
        if self._products is None:
            self._products = torch.zeros(dh.shape[-1], dtype=torch.float32, device=dh.device)
            self._squares = torch.zeros_like(self._products)
        if dh.shape[-1] != len(self._products):
            raise ValueError(f"dh is {dh.shape[-1]} wide, but it was {len(self._products)} before; use a new fit.")
        dh, dr = dh.float(), dr.float()
        products, squares = (dr * dh).sum(dim=(0, 1)), (dh * dh).sum(dim=(0, 1))
        sound = products.isfinite() & squares.isfinite()
        self._products = torch.where(sound, FORGETTING * self._products + products, self._products)
        self._squares = torch.where(sound, FORGETTING * self._squares + squares, self._squares)

    def map(self) -> PerChannel | None:
        """The map learned so far, in float32; None before the first update."""
        if self._products is None:
            return None
        # TINY: when nothing changed at all, the map is zero and not 0 / 0.
        return PerChannel(self._products / (self._squares + RIDGE * self._squares.mean() + TINY))
