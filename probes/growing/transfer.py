"""Tensors on their way between the CPU and a GPU, so that neither waits for the other: through pinned memory.

A plain copy in either direction waits until the GPU has done all that it was given before. Elsewhere, plain copies.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class PendingTensors:
    """Tensors on their way to the CPU, from what has been asked of their device so far."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        tensors = [*tensors]
        self._from_gpu = [tensor.device for tensor in tensors if tensor.device.type == "cuda"]
        self._tensors = tuple(tensor.to("cpu", non_blocking=bool(self._from_gpu)) for tensor in tensors)
        self._arrival = None
        if self._from_gpu:
            self._arrival = torch.cuda.current_stream(self._from_gpu[0]).record_event()

    def wait(self) -> tuple[Tensor, ...]:
        """The tensors, once they are there."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._tensors
