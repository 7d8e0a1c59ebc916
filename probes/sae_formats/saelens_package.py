"""SAEs by their names in SAELens' own list, read by the package `sae_lens` where it is installed.

What it gives is kept as a folder in SAELens' format, and read as any other.
"""

import hashlib
import importlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from probes.errors import SubjectError
from probes.model.hub import Folder
from probes.sae_formats import copies, saelens

PREFIX = "saelens:"


def folder_of(place: str) -> Folder:
    """The folder of `saelens:RELEASE/ID`. Raises SubjectError where the package is missing or does not know it."""
    release, _, sae_id = place.removeprefix(PREFIX).partition("/")
    if not release or not sae_id:
        raise SubjectError(
            f"SAE {place!r} has not the form {PREFIX}RELEASE/ID, as in SAELens' list of pretrained SAEs."
        )
    lens = _package(place)
    version = str(getattr(lens, "__version__", "unknown"))
    key = hashlib.sha256("\0".join((version, release, sae_id)).encode()).hexdigest()
    folder = copies.folder() / f"saelens-{key}"
    if not folder.is_dir():
        _keep(folder, *_pretrained(lens, release, sae_id, place))
    return Folder(folder, f"sae-lens {version}")


def _package(place: str) -> Any:
    try:
        return importlib.import_module("sae_lens")
    except ImportError as error:
        raise SubjectError(
            f"SAE {place!r} is read by the package sae-lens, which is not installed here; "
            "pip install 'sae-interpret[saelens]'."
        ) from error


def _pretrained(lens: Any, release: str, sae_id: str, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its configuration and tensors."""
    try:
        loaded = lens.SAE.from_pretrained(release=release, sae_id=sae_id, device="cpu")
    except Exception as error:  # it raises whatever its many loaders do
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise SubjectError(f"SAE {place!r} cannot be had through sae-lens: {reason}.") from error
    sae = loaded[0] if isinstance(loaded, tuple) else loaded  # before version 6 the configuration came with it
    return sae.cfg.to_dict(), sae.state_dict()


def _keep(folder: Path, config: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Writes the folder beside its place and moves it there whole, so that two processes may do so at once."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, suffix=".part"))
        try:
            (made / saelens.CONFIG).write_text(json.dumps(config, default=str), encoding="utf-8")
            save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, made / saelens.WEIGHTS)
            if not folder.is_dir():
                made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # else another process was first
            raise SubjectError(f"The SAE cannot be kept in the cache folder {folder.parent}: {error}.") from error
