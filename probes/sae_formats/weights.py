"""A file of tensors: opened, and each tensor taken out in the shape that is expected of it.

safetensors are views of their file, of which only what is touched is read. NumPy's archives and pickles are turned into
safetensors once, see `copies`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from probes.doors import door, shown
from probes.errors import SubjectError
from probes.sae_formats import copies

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class Weights:
    """Tensors by the names their file gives them. Taking one out raises SubjectError where it is not as expected."""

    path: Path
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    """Numbers and words that a pickle holds beside its tensors."""
    basis: str
    """What shapes are checked against, in messages."""

    def has(self, *names: str) -> bool:
        """Tells whether all of them are there."""
        return all(name in self.tensors for name in names)

    def vector(self, name: str, n: int | None = None) -> Float[Tensor, " n"]:
        """A float32 vector of length `n`, or of any length where `n` is None."""
        tensor = self._floats(name)
        if tensor.ndim != 1 or (n is not None and len(tensor) != n):
            raise SubjectError(self._misshapen(name, ["any length"] if n is None else [n]))
        return self.finite(name, tensor.float())

    def matrix(self, name: str, rows: int, columns: int, turned: bool = False) -> Float[Tensor, "rows columns"]:
        """A matrix as a view of its file. `turned`: the format stores it as [columns, rows].

        Its shape decides over the format's rule wherever it can, that is unless rows and columns are equally many.
        """
        tensor = self._floats(name)
        if tuple(tensor.shape) not in ((rows, columns), (columns, rows)):
            raise SubjectError(self._misshapen(name, [columns, rows] if turned else [rows, columns]))
        lies_turned = turned if rows == columns else tuple(tensor.shape) == (columns, rows)
        return tensor.T if lies_turned else tensor

    def flat(self, name: str, n: int) -> Float[Tensor, " n"]:
        """A vector that some write as a matrix of one row; float32."""
        tensor = self._floats(name)
        if tensor.numel() != n:
            raise SubjectError(self._misshapen(name, [n]))
        return self.finite(name, tensor.reshape(n).float())

    def stack(self, name: str, n: int, d: int) -> Float[Tensor, "n targets d"]:
        """Several vectors for each feature, as a view of the file."""
        tensor = self._floats(name)
        if tensor.ndim != 3 or (tensor.shape[0], tensor.shape[2]) != (n, d) or not tensor.shape[1]:
            raise SubjectError(self._misshapen(name, [n, "any", d]))
        return tensor

    def small(self, name: str, rows: int, columns: int, turned: bool = False) -> Float[Tensor, "rows columns"]:
        """A matrix without features, read at once; float32."""
        return self.finite(name, self.matrix(name, rows, columns, turned).float())

    def scalar(self, name: str) -> float:
        """A single number, kept as a tensor or beside them."""
        if name in self.values:
            value = self.values[name]
        else:
            tensor = self._tensor(name)
            value = tensor.item() if tensor.numel() == 1 else None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise SubjectError(f"SAE weights {self.path}: {name} is not a single number.")
        return float(value)

    def finite(self, name: str, tensor: Tensor) -> Tensor:
        """The tensor, where all its numbers are finite."""
        if not tensor.isfinite().all():
            raise SubjectError(
                f"SAE weights {self.path}: {name} holds numbers that are not finite; download the file again."
            )
        return tensor.contiguous()

    def _tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            there = ", ".join(sorted(self.tensors)) or "none"
            raise SubjectError(f"SAE weights {self.path} have no tensor {name}, only {shown(there)}.")
        return self.tensors[name]

    def _floats(self, name: str) -> Tensor:
        tensor = self._tensor(name)
        if tensor.dtype not in _FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise SubjectError(f"SAE weights {self.path}: {name} is of type {kind}, not of floating-point numbers.")
        return tensor

    def _misshapen(self, name: str, wanted: list[Any]) -> str:
        have = list(self._tensor(name).shape)
        want = str(wanted).replace("'", "")
        return f"SAE weights {self.path}: {name} has shape {have}, but {self.basis} asks for {want}."


def open_weights(path: Path, basis: str = "the rest of the file") -> Weights:
    """The tensors of a .safetensors, .npz, .pt or .pth file. Raises SubjectError where it cannot be read."""
    if not path.is_file():
        raise SubjectError(
            f"SAE folder {path.parent} has no {path.name}, to which its configuration belongs; put it there."
        )
    safe, values = (path, {}) if path.suffix == ".safetensors" else copies.safetensors_of(path)
    with door(SubjectError, f"SAE weights {path} cannot be read: {{cause}}; download the file again."):
        tensors = load_file(safe)
    return Weights(path, copies.upright(safe, tensors) if safe != path else tensors, values, basis)
