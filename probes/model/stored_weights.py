"""Reads the names, types and shapes of a model folder's weights from their headers, without the numbers.

Checked before a model is built, so that what its configuration declares can be compared with what is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import safe_open

from probes.doors import door
from probes.errors import SubjectError
from probes.model.files import INDEX, WEIGHTS, checked, weight_map

_LONGEST_NAME = 500
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as a header describes it."""

    file: Path
    kind: str
    """safetensors' name of the type, such as `BF16`."""
    shape: tuple[int, ...]

    @property
    def is_floating(self) -> bool:
        """Tells whether the tensor holds floating-point numbers that can be computed with as they are."""
        return self.kind in _FLOATS


@dataclass(frozen=True)
class StoredWeights:
    """All tensors of a model folder."""

    tensors: Mapping[str, StoredTensor]

    @property
    def n_numbers(self) -> int:
        """Returns how many numbers the tensors hold."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())


def stored_weights(folder: Path) -> StoredWeights:
    """The tensors of a folder's one file of weights, or of its shards. Raises SubjectError."""
    if (folder / WEIGHTS).exists():
        return StoredWeights(_header(checked(folder, WEIGHTS)))
    if not (folder / INDEX).exists():
        raise SubjectError(f"Model folder {folder} has no weights in .safetensors, the only form that is read.")
    shard_of, found = weight_map(folder), dict[str, StoredTensor]()
    for shard in sorted(set(shard_of.values())):
        for name, tensor in _header(checked(folder, shard)).items():
            if name in found:
                raise SubjectError(
                    f"Model folder {folder} has the tensor {name} twice, in {found[name].file.name} and in {shard}; "
                    "download the model again."
                )
            found[name] = tensor
    for name, shard in shard_of.items():
        if name not in found or found[name].file != folder / shard:
            raise SubjectError(
                f"Model folder {folder} has no tensor {name:.100} in {shard}, where its index says it is; download the "
                "model again."
            )
    return StoredWeights(found)


def _header(path: Path) -> dict[str, StoredTensor]:
    with (
        door(SubjectError, f"Model weights {path} are damaged or cut short ({{cause}}); download the file again."),
        safe_open(path, "pt") as file,
    ):
        names = list(file.keys())
        for name in names:
            if not name.isprintable() or len(name) > _LONGEST_NAME:
                raise SubjectError(
                    f"Model weights {path} call a tensor {name!r:.100}, which no model does; take others."
                )
        slices = {name: file.get_slice(name) for name in names}
        return {name: StoredTensor(path, s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
