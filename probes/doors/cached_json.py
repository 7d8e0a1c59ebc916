"""Figures that are costly and always the same, kept in the user's cache: one small JSON file for each set of them.

A file is named by a hash of all that its figures hang on. Two processes may write the same one at once: each writes its
own and moves it into place. What is missing, damaged or cannot be written costs time and nothing else.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs


def cache_root() -> Path:
    """The user's cache, of which every kind of thing that is kept has a folder."""
    return Path(platformdirs.user_cache_dir("sae-interpret"))


def cache_folder(kind: str) -> Path:
    """Returns the folder in which things of that kind are kept."""
    return cache_root() / kind


def file_name(hangs_on: Mapping[str, Any]) -> str:
    """The name of the file whose figures hang on that."""
    return f"{hashlib.sha256(json.dumps(hangs_on, sort_keys=True).encode()).hexdigest()}.json"


def read_json(file: Path) -> Any:
    """Returns the value in a JSON file; None if there is no such file or it holds no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: neither UTF-8 nor JSON
        return None


def write_json(file: Path, value: Any) -> None:
    """Writes it as a whole, if that is possible."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as part:
                json.dump(value, part)
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
