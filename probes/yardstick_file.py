"""How far random directions' trees diverge from the null, kept in the user's cache: it is costly and always the same.

One file for each subject and kind of tree; see `probes.cached_json`. Knows no torch.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from probes.cached_json import cache_folder, file_name, read_json, write_json
from probes.presets import SubjectCard
from probes.settings import TreeSettings, VectorSettings

_LAYOUT = 1
"""Of the files; to be raised when trees or divergences come out otherwise, so that they are measured anew."""


def folder() -> Path:
    """Where they are kept."""
    return cache_folder("yardsticks")


def file_of(card: SubjectCard, vector: VectorSettings, tree: TreeSettings, drawn: Mapping[str, int]) -> Path:
    """The file of that subject, kind of vector (its weights aside) and kind of tree; `drawn`: which directions."""
    hangs_on = {
        "layout": _LAYOUT,
        "subject": card.model_dump(mode="json", include={"fingerprint", "dtype", "placeholder_id", "per_layer"}),
        "vector": vector.model_dump(mode="json", exclude={"weights": True, "adapter": {"path"}}),
        "tree": tree.model_dump(mode="json", exclude={"prompt"}) | {"prompt": tree.prompt_text},
        "drawn": dict(drawn),
    }
    return folder() / file_name(hangs_on)


def kept(file: Path, n: int) -> tuple[float, ...] | None:
    """The n divergences in the file, in nats; None where they are not there or not whole."""
    found = read_json(file)
    whole = isinstance(found, list) and len(found) == n and all(isinstance(one, float) for one in found)
    return tuple(found) if whole and all(0 <= one <= math.log(2) + 1e-9 for one in found) else None


def keep(file: Path, divergences: Sequence[float]) -> None:
    """Writes them, if that is possible."""
    write_json(file, list(divergences))
