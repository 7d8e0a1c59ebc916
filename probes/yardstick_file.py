"""How far random directions' trees diverge from the null, kept in the user's cache: it is costly and always the same.

One small JSON file for each subject and kind of tree, named by a hash of all that the figures hang on. Two processes
may write the same one at once: each writes its own and moves it into place. What is missing, damaged or cannot be
written costs time and nothing else. Knows no torch.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from probes.presets import SubjectCard
from probes.settings import TreeSettings, VectorSettings

_LAYOUT = 1
"""Of the files; to be raised when trees or divergences come out otherwise, so that they are measured anew."""


def folder() -> Path:
    """Where they are kept."""
    return Path(platformdirs.user_cache_dir("sae-interpret")) / "yardsticks"


def file_of(card: SubjectCard, vector: VectorSettings, tree: TreeSettings, drawn: Mapping[str, int]) -> Path:
    """The file of that subject, kind of vector (its weights aside) and kind of tree; `drawn`: which directions."""
    hangs_on = {
        "layout": _LAYOUT,
        "subject": card.model_dump(mode="json", include={"fingerprint", "dtype", "placeholder_id", "per_layer"}),
        "vector": vector.model_dump(mode="json", exclude=_of_no_account(vector)),
        "tree": tree.model_dump(mode="json", exclude={"prompt"}) | {"prompt": tree.prompt_text},
        "drawn": dict(drawn),
    }
    return folder() / f"{hashlib.sha256(json.dumps(hangs_on, sort_keys=True).encode()).hexdigest()}.json"


def _of_no_account(vector: VectorSettings) -> dict[str, Any]:
    """What the null does not hang on: an adapter's path, and which side of a feature its vector is made of."""
    return (
        {"adapter": {"path"}} if vector.is_vocabulary else {"weights": True, "ghost_tokens": True, "adapter": {"path"}}
    )


def kept(file: Path, n: int) -> tuple[float, ...] | None:
    """The n divergences in the file, in nats; None where they are not there or not whole."""
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: neither UTF-8 nor JSON
        return None
    whole = isinstance(found, list) and len(found) == n and all(isinstance(one, float) for one in found)
    return tuple(found) if whole and all(0 <= one <= math.log(2) + 1e-9 for one in found) else None


def keep(file: Path, divergences: Sequence[float]) -> None:
    """Writes them, if that is possible."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as part:
                json.dump(list(divergences), part)
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
