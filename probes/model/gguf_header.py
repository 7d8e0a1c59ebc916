"""Reads a GGUF file's header, and checks it against the file's size before anything is made of it.

The layout is llama.cpp's: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every step is checked against the
end of the file, so a file that is cut, damaged or something else costs a moment and one sentence.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.doors import door
from probes.errors import SubjectError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
"""Of tensors, in bytes, where the file does not say."""
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class GgufHeader:
    """The metadata of a GGUF file that is as long as it says."""

    metadata: Mapping[str, Any]
    """Numbers and strings; of an array its length."""
    n_tensors: int = 0
    n_numbers: int = 0
    """In all of its tensors."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the kind of model."""
        return str(self.metadata.get("general.architecture", "unnamed"))

    @property
    def cut(self) -> str:
        """llama.cpp's name of how text is cut before tokens are merged."""
        return str(self.metadata.get("tokenizer.ggml.pre", "default"))

    @property
    def has_tokenizer(self) -> bool:
        """Tells whether the file has a vocabulary."""
        return bool(self.metadata.get("tokenizer.ggml.tokens"))

    @property
    def n_files(self) -> int:
        """Over how many files the model is spread."""
        count = self.metadata.get("split.count", 1)
        return count if isinstance(count, int) else 1


def read_header(path: Path, sizes: Mapping[int, tuple[int, int]]) -> GgufHeader:
    """The header of the file at `path`. Raises SubjectError for what is no GGUF file, or not a whole one.

    `sizes` has, for each type of tensor, how many numbers are packed into how many bytes.
    """
    with door(SubjectError, f"GGUF file {path} cannot be read: {{cause}}."):
        if path.stat().st_size < len(_MAGIC) or _begins(path) != _MAGIC:
            raise SubjectError(f"{path} is no GGUF file, whatever its name says; download it again.")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _read(_Cursor(data), path, sizes)
            except (struct.error, ValueError, IndexError, ArithmeticError, TypeError) as error:
                raise SubjectError(f"GGUF file {path} is damaged or cut short; download it again.") from error


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_MAGIC))


def _read(cursor: "_Cursor", path: Path, sizes: Mapping[int, tuple[int, int]]) -> GgufHeader:
    cursor.skip(len(_MAGIC))
    version = cursor.number("<I")
    if version not in _VERSIONS:
        raise SubjectError(
            f"GGUF file {path} is of version {version}; those that can be read are "
            f"{' and '.join(map(str, _VERSIONS))}, so convert it anew with llama.cpp."
        )
    n_tensors, n_values = cursor.number("<Q"), cursor.number("<Q")
    metadata = {}
    for _ in range(n_values):
        name = cursor.string()
        metadata[name] = cursor.value(cursor.number("<I"))
    tensors = [cursor.tensor(sizes) for _ in range(n_tensors)]
    ends = [end for end, _ in tensors]
    alignment = int(metadata.get("general.alignment", 0)) or _ALIGNMENT
    start = -(-cursor.at // alignment) * alignment
    if start + max(ends, default=0) > len(cursor.data):
        raise SubjectError(
            f"GGUF file {path} is cut short: its tensors end at byte {start + max(ends):,}, the file at "
            f"{len(cursor.data):,}; download it again."
        )
    return GgufHeader(metadata, len(tensors), sum(n_numbers for _, n_numbers in tensors))


class _Cursor:
    """A place in the file that moves on as one value after the other is read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def skip(self, n_bytes: int) -> None:
        """Moves on. Raises ValueError beyond the end."""
        self.at += n_bytes
        if self.at > len(self.data):
            raise ValueError("beyond the end of the file")

    def number(self, form: str) -> Any:
        """The number here, in one of `struct`'s formats."""
        (found,) = struct.unpack_from(form, self.data, self.at)
        self.skip(struct.calcsize(form))
        return found

    def string(self) -> str:
        """The string here."""
        length = self.number("<Q")
        start = self.at
        self.skip(length)
        return self.data[start : self.at].decode("utf-8")

    def value(self, kind: int) -> Any:
        """The value of that kind here; of an array its length."""
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array()
        if kind not in _FORMATS:
            raise ValueError(f"no kind of value is {kind}")
        return self.number(_FORMATS[kind])

    def _array(self) -> int:
        kind, length = self.number("<I"), int(self.number("<Q"))
        if kind in _FORMATS:
            self.skip(length * struct.calcsize(_FORMATS[kind]))
        elif kind == _STRING:
            for _ in range(length):
                self.skip(self.number("<Q"))
        else:
            raise ValueError(f"no array holds values of kind {kind}")
        return length

    def tensor(self, sizes: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
        """Returns the end of the tensor described here, in bytes after the first tensor's beginning, and its number of
        values.
        """
        self.string()
        n_dimensions = self.number("<I")
        if n_dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"no tensor has {n_dimensions} dimensions")
        n_numbers = math.prod(self.number("<Q") for _ in range(n_dimensions))
        kind, offset = self.number("<I"), self.number("<Q")
        if kind not in sizes:
            raise ValueError(f"no tensor is of type {kind}")
        packed, n_bytes = sizes[kind]
        return int(offset + n_numbers // packed * n_bytes), int(n_numbers)
