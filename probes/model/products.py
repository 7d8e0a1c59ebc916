"""Linear layers in float32 on a CPU, multiplied by oneDNN where that is faster.

PyTorch has oneDNN aboard but gives it other precisions only; float32 goes to MKL, which is slower on AMD's processors,
most of all where few rows meet many columns, as in an unembedding, and faster on Intel's: `tests.bench.products` tells,
probes/NOTES.md has what it told. INTERPRET_ONEDNN=on or off overrules. The numbers differ in their last bits.
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

ROWS = 32
"""So many make a product worth its while, even with a vocabulary."""
_FEW = 8
"""Fewer rows are left to MKL."""


def linear(
    x: Float[Tensor, "*batch d_in"], weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None = None
) -> Float[Tensor, "*batch d_out"]:
    """x W^T + b, by oneDNN where it is faster and no gradient is wanted."""
    rows = x.shape[:-1].numel()
    if not (_WANTED and rows >= _FEW and _plain(x) and _plain(weight)) or torch.is_grad_enabled():
        return functional.linear(x, weight, bias)
    flat, missing = x.reshape(rows, -1), -rows % _step(rows)
    if missing:  # else functional.pad would copy
        flat = functional.pad(flat, (0, 0, 0, missing))
    product = torch.ops.mkldnn._linear_pointwise(flat, weight, bias, "none", [], "")[:rows]
    shaped: Tensor = product.unflatten(0, x.shape[:-1])
    return shaped


def even(rows: int) -> int:
    """The most rows, no more than these, that a product takes without filling up."""
    return rows - rows % _step(rows)


def use_onednn(model: nn.Module) -> None:
    """From now on the model's linear layers are multiplied that way wherever they are in float32 on a CPU."""
    for module in model.modules():
        module.__class__ = _FASTER.get(type(module), type(module))


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class _Conv1D(Conv1D):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight.T, self.bias)


_FASTER: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: _Linear, Conv1D: _Conv1D}
SWITCH = "INTERPRET_ONEDNN"
_FASTER_ON = "AuthenticAMD"


def is_available() -> bool:
    """Tells whether this PyTorch has oneDNN for this processor."""
    known = platform.machine() in ("x86_64", "AMD64") and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and torch.backends.mkldnn.is_available()


def is_wanted(environment: Mapping[str, str], processor: str) -> bool:
    """Tells whether oneDNN is to multiply: as the environment says, else where it is faster."""
    said = environment.get(SWITCH)
    return is_available() and (said == "on" or (said != "off" and _FASTER_ON in processor))


def processor() -> str:
    """Describes this machine's processor, its maker included."""
    try:
        told = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    wanted = ("vendor_id", "model name")
    return ", ".join(next((line.partition(": ")[2] for line in told if line.startswith(name)), "") for name in wanted)


_WANTED = is_wanted(os.environ, processor())


def _step(rows: int) -> int:
    """Rows are filled up to a multiple of it.

    Every number of them that oneDNN meets costs it a millisecond of compiling and, for good, half a MiB.
    """
    return max(ROWS, 2 ** ((rows - 1).bit_length() - 4)) if rows > ROWS else _FEW


def _plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.layout == torch.strided
