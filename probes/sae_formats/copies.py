"""Archives and pickles as safetensors: turned into one once, in the user's cache, by the content of the original.

There, matrices that are wider than tall lie transposed, so that the many features are rows and one of them can be read
without the others. Pickles are read by torch's own reader of plain tensors, which runs no code. Two processes may make
the same copy at once: each writes its own file and moves it into place.
"""

import hashlib
import json
import os
import pickle
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from probes.doors.cached_json import cache_folder
from probes.errors import SubjectError

_LAYOUT = "1"
"""Of the copies; another one makes them anew."""
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_BEGINNINGS = {".npz": (_ZIP,), ".pt": (_ZIP, _PICKLE), ".pth": (_ZIP, _PICKLE)}
"""Of what torch and NumPy write; torch's oldest pickles stand in no archive."""
_LONGEST = len(_ZIP)
_BROKEN = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def folder() -> Path:
    """Returns the folder in which copies are kept."""
    return cache_folder("saes")


def safetensors_of(path: Path) -> tuple[Path, Mapping[str, Any]]:
    """The copy of `path`, made if need be, and the numbers and words beside its tensors. Raises SubjectError."""
    try:
        state = path.stat()
        digest = _sha256(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise SubjectError(f"SAE weights {path} cannot be read: {error}.") from error
    copy = folder() / f"{digest}-{_LAYOUT}.safetensors"
    if not _is_whole(copy):
        _write(copy, *_loaded(path))
    return copy, json.loads(_metadata(copy)["values"])


def upright(copy: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy's tensors in the orientation of the original, still views of the file."""
    turned = json.loads(_metadata(copy)["turned"])
    return {name: tensor.T if name in turned else tensor for name, tensor in tensors.items()}


@lru_cache(maxsize=4)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    """Remembered for as long as the file looks the same: several formats look into a pickle before one reads it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _metadata(copy: Path) -> dict[str, str]:
    with safe_open(copy, "pt") as file:
        return dict(file.metadata())


def _is_whole(copy: Path) -> bool:
    """Tells whether the copy is complete; a half-written one does not open and is made again."""
    try:
        return copy.is_file() and {"values", "turned"} <= _metadata(copy).keys()
    except (OSError, SafetensorError):
        return False


def _write(copy: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    turned = [name for name, tensor in tensors.items() if tensor.ndim == 2 and tensor.shape[0] < tensor.shape[1]]
    laid = {
        name: (tensor.T if name in turned else tensor).clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=copy.parent, suffix=".part")
        os.close(handle)
        try:
            save_file(laid, name, {"values": json.dumps(dict(values)), "turned": json.dumps(turned)})
            Path(name).replace(copy)
        finally:
            Path(name).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise SubjectError(
            f"The SAE's weights cannot be kept as safetensors in the cache folder {copy.parent}: {error}; make "
            "room there, or name another folder by XDG_CACHE_HOME."
        ) from error


def _loaded(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        return _from_numpy(path) if path.suffix == ".npz" else _from_pickle(path)
    except (pickle.UnpicklingError, *_BROKEN) as error:
        raise SubjectError(f"SAE weights {path} {_fault(path, error)}.") from error


def _fault(path: Path, error: Exception) -> str:
    """Says what is wrong with them in our words: those of the libraries tell how to read dangerous files all the
    same.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    with path.open("rb") as file:
        head = file.read(_LONGEST)
    if not head.startswith(_BEGINNINGS[path.suffix]):
        return f"cannot be read: this is no {path.suffix} file, whatever its name says; download it again"
    if isinstance(error, pickle.UnpicklingError) or "allow_pickle" in str(error):
        return (
            "hold more than tensors, which could run code when read, so they are not read; take a copy in safetensors, "
            "or make one where that does no harm"
        )
    return "cannot be read: the file is damaged or cut short; download it again"


def _from_numpy(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    # opened here, since NumPy leaves a broken archive open
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: torch.from_numpy(np.atleast_1d(archive[name])) for name in archive.files}, {}


def _from_pickle(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain values by their dotted names."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(stored, Mapping):
        kind = type(stored).__name__
        raise SubjectError(f"SAE weights {path} cannot be read: it holds a {kind} instead of tensors by name.")
    leaves = dict(_leaves(stored, ""))
    tensors = {name: value.detach() for name, value in leaves.items() if isinstance(value, Tensor)}
    values = {name: value for name, value in leaves.items() if isinstance(value, str | int | float)}
    return tensors, values


def _leaves(stored: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in stored.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
