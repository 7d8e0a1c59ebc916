"""A table of vectors that is filled in a file and mapped into memory from there, whatever the number format."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_NUMPY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.uint16}
"""How numbers lie in a file; numpy knows no bfloat16."""


@dataclass(frozen=True, eq=False)
class MappedTable:
    """A table to be filled."""

    rows: Float[Tensor, "n width"]
    part: Path | None
    """The file that it is mapped from; None for one in memory."""


@contextmanager
def new_table(file: Path, shape: tuple[int, int], dtype: torch.dtype) -> Iterator[MappedTable]:
    """Mapped from a file beside `file`, which is gone afterwards unless renamed; in memory where none can be made."""
    part: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        os.close(handle)
        part = Path(name)
        mapped: Any = np.lib.format.open_memmap(name, mode="w+", dtype=_NUMPY[dtype], shape=shape)
        table = MappedTable(_as_dtype(torch.from_numpy(mapped), dtype), part)
    except OSError:
        table = MappedTable(torch.empty(shape, dtype=dtype), None)
    try:
        yield table
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def stored_table(file: Path, dtype: torch.dtype) -> Float[Tensor, "n width"]:
    """Maps a table that was filled. Raises OSError or ValueError."""
    stored = np.load(file, mmap_mode="c")  # copy on write, which torch asks of what it maps
    return _as_dtype(torch.from_numpy(stored), dtype)


def has_room(folder: Path, shapes: list[tuple[int, int]], dtype: torch.dtype) -> bool:
    """Tells whether tables of these shapes can be kept in the folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(folder).free > dtype.itemsize * sum(map(prod, shapes)) and os.access(folder, os.W_OK)
    except OSError:
        return False


def _as_dtype(stored: Tensor, dtype: torch.dtype) -> Tensor:
    return stored.view(dtype) if dtype == torch.bfloat16 else stored
