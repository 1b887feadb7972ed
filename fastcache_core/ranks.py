"""Several processes that sample one image together, each with a part of its tokens (sequence parallelism).

What a rank computes, the others wait for, so all of them must decide alike, and about the whole image: what decisions
rest on is measured by every rank on its own tokens, told to all, and put together after that. `Ranks` does so within
a process group of torch.distributed that somebody names; `Alone` is one process with all tokens, which exchanges
nothing. A group that torch.distributed happens to have is never used: programs that sample other images have one, too.

Numbers that the host reads come in kinds, of which `WHOLE` says what those of all ranks make together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from .signals import TINY, change_norms, mean, relative_change


class Alone:
    """One process, with all tokens. What `Ranks` does in a group, without exchanging anything."""

    size = 1

    def change(self, h: Tensor, reference: Tensor, order: float) -> Tensor:
        """Of the kinds `change` and `distance`, to be told: how much h [samples, tokens, width] changed."""
        return relative_change(h, reference, order)

    def largest_change(self, changes: Sequence[Tensor]) -> Tensor:
        """Of several such changes."""
        return torch.stack(list(changes)).amax()

    def mean(self, x: Tensor) -> Tensor:
        """Of every sample's numbers, x [samples, ...]: [samples], in float32, on the device."""
        return mean(x)

    def told(self, h: Tensor) -> dict[str, Tensor]:
        """What else is told whenever something is: nothing, or of the kind `tokens`, how many there are in h."""
        return {}

    def counts(self, mask: Tensor) -> dict[str, Tensor]:
        """Of the kinds `fewest` and `most`: active tokens of any sample, of a mask [samples, tokens]."""
        active = mask.sum(dim=1)
        return {"fewest": active.amin(), "most": active.amax()}

    def fewest(self, found: float, tokens: int) -> int:
        """The number of the kind `fewest` that was read; of this process's tokens: all of them, if all are active."""
        return round(found)

    def together(
        self, numbers: Sequence[Tensor], sums: Sequence[Tensor], device: torch.device
    ) -> tuple[Tensor, list[Tensor]]:
        """Everything to be read as one tensor, and sums over all tokens, which stay on the device."""
        return torch.stack([number.to(device, torch.float32) for number in numbers]), list(sums)

    def whole(self, kinds: Sequence[str], numbers: Sequence[Tensor], read: list, order: float) -> list[float]:
        """What was read of these kinds, one number for each; order: of the norms of changes."""
        return read

    def smallest(self, number: float, device: torch.device) -> float:
        """Of a number that the ranks may know differently; the host waits for it."""
        return number

    def largest(self, number: float, device: torch.device) -> float:
        """Likewise."""
        return number

    def gathered(self, kept: Any) -> list[Any]:
        """What every rank kept, on the CPU."""
        return [kept]


class Ranks(Alone):
    """The processes of a group, of which each has a part of every sample's tokens. All call the same in turn."""

    def __init__(self, group: dist.ProcessGroup):
        self.group, self.size, self.rank = group, dist.get_world_size(group), dist.get_rank(group)
        self.exchanges = 0  # collective operations so far

    def change(self, h: Tensor, reference: Tensor, order: float) -> Tensor:
        """Norms of both, [2, samples]: ratios are taken of the norms over all tokens."""
        return torch.stack(change_norms(h, reference, order))

    def largest_change(self, changes: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(changes), dim=1)

    def mean(self, x: Tensor) -> Tensor:
        own = x.flatten(1)
        sums = own.sum(dim=1, dtype=torch.float32)
        both = self._sum(torch.cat([sums, sums.new_full((1,), own.shape[1])]))
        return both[:-1] / both[-1]

    def told(self, h: Tensor) -> dict[str, Tensor]:
        return {"tokens": h.new_full((), h.shape[1], dtype=torch.float32)}

    def counts(self, mask: Tensor) -> dict[str, Tensor]:
        active = mask.sum(dim=1)
        # Ranks may have unlike numbers of tokens, so that only those that are not active compare.
        return {"fewest": active.amin() - mask.shape[1], "most": active.amax()}

    def fewest(self, found: float, tokens: int) -> int:
        return tokens + round(found)

    def together(
        self, numbers: Sequence[Tensor], sums: Sequence[Tensor], device: torch.device
    ) -> tuple[Tensor, list[Tensor]]:
        """The numbers of every rank, [ranks, numbers], in one exchange, with which the sums are taken."""
        own = torch.cat([part.to(device, torch.float32).flatten() for part in (*numbers, *sums)])
        table = own.new_zeros(self.size, len(own))
        table[self.rank] = own
        self._sum(table)  # of one rank's row and zeros: exact, and the same everywhere, whatever order it is taken in
        read = sum(number.numel() for number in numbers)
        parts = table[:, read:].sum(dim=0).split([part.numel() for part in sums])
        return table[:, :read], [part.reshape(like.shape) for part, like in zip(parts, sums, strict=True)]

    def whole(self, kinds: Sequence[str], numbers: Sequence[Tensor], read: list, order: float) -> list[float]:
        ends = np.cumsum([number.numel() for number in numbers])[:-1]
        parts = np.split(np.asarray(read, dtype=np.float64), ends, axis=1)
        with np.errstate(invalid="ignore"):  # infinity over infinity, which a model may have
            return [float(WHOLE[kind](part, order)) for kind, part in zip(kinds, parts, strict=True)]

    def smallest(self, number: float, device: torch.device) -> float:
        return min(self._each(number, device))

    def largest(self, number: float, device: torch.device) -> float:
        return max(self._each(number, device))

    def gathered(self, kept: Any) -> list[Any]:
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, kept, group=self.group)
        self.exchanges += 1
        return parts

    def _each(self, number: float, device: torch.device) -> list[float]:
        table = torch.zeros(self.size, dtype=torch.float32, device=device)
        table[self.rank] = number
        return self._sum(table).tolist()

    def _sum(self, tensor: Tensor) -> Tensor:
        """Over all ranks, in place."""
        dist.all_reduce(tensor, group=self.group)
        self.exchanges += 1
        return tensor


def ranks_of(group: dist.ProcessGroup | None) -> Alone:
    """Of a process group, or of none."""
    return Alone() if group is None else Ranks(group)


def largest_ratio(norms: np.ndarray, order: float) -> float:
    """The largest relative change of a sample, of the norms of all ranks, [ranks, 2 * samples] (`Ranks.change`)."""
    difference, reference = np.linalg.norm(norms, order, axis=0).reshape(2, -1)
    return (difference / (reference + TINY)).max()


# Numbers of all ranks, [ranks, numbers of one], and the order of changes' norms -> one number.
WHOLE: dict[str, Callable[[np.ndarray, float], float]] = {
    "change": largest_ratio,
    "distance": largest_ratio,
    "sigma": lambda rows, _: rows[0, 0],
    "tokens": lambda rows, _: rows.sum(),
    "fewest": lambda rows, _: rows.min(),
    "most": lambda rows, _: rows.max(),
    "norm": lambda rows, _: np.linalg.norm(rows),
    "alarm": lambda rows, _: rows.max(),
    "check": lambda rows, _: rows.max(),  # NaN, if there is one
}
