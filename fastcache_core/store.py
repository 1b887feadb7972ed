"""Where kept tensors live: where they are computed, or on another device, with copies that overlap computing."""

from __future__ import annotations

import torch
from torch import Tensor


class Store:
    """Puts tensors away and gets them back. device: where they are kept; None: where they are computed.

    From a CUDA device to system memory, copies go through page-locked memory on a stream of their own, in order, while
    the device computes on. Nothing but `get` may read what `put` returned: the copy may still be under way.
    """

    def __init__(self, device: torch.device | None = None):
        self.device = device
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def put(self, tensor: Tensor) -> Tensor:
        """Take a tensor over; the caller does not write into it any more."""
        if self.device is None or tensor.device == self.device:
            return tensor
        if not (tensor.is_cuda and self.device.type == "cpu"):
            return tensor.to(self.device)
        try:
            kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        except RuntimeError:  # the system lends no more memory that is page-locked
            return tensor.to(self.device)
        stream, now = self._stream(tensor.device), torch.cuda.current_stream(tensor.device)
        stream.wait_stream(now)
        with torch.cuda.stream(stream):
            kept.copy_(tensor, non_blocking=True)
        tensor.record_stream(stream)  # its memory must not be reused before it was copied
        return kept

    def get(self, kept: Tensor, device: torch.device) -> Tensor:
        """The tensor on a device; possibly the very one that was put away, so it must not be written into."""
        if kept.device == device:
            return kept
        if device.type != "cuda" or not kept.is_pinned():
            return kept.to(device)
        stream, now = self._stream(device), torch.cuda.current_stream(device)
        with torch.cuda.stream(stream):
            tensor = kept.to(device, non_blocking=True)
        now.wait_stream(stream)
        tensor.record_stream(now)
        return tensor

    def _stream(self, device: torch.device) -> torch.cuda.Stream:
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        return self._streams[device]
