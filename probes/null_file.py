"""A null distribution's figures, kept in the user's cache: they are costly and always the same.

One small JSON file for each subject, kind of vector and kind of tree, named by a hash of all that the figures hang on.
Two processes may write the same one at once: each writes its own and moves it into place. What is missing, damaged or
cannot be written costs time and nothing else. Knows no torch.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from probes.presets import SubjectCard
from probes.settings import TreeSettings, VectorSettings

_LAYOUT = 2
"""Of the files; to be raised when trees or figures come out otherwise, so that they are measured anew."""


@dataclass(frozen=True)
class NullFigures:
    """What the trees of random features are like, one entry per feature."""

    divergences: tuple[float, ...]
    """From the null, in nats."""
    entropies_bits: tuple[float | None, ...]
    """Of the first token; None where the tree is only its root."""


def folder() -> Path:
    """Where they are kept."""
    return Path(platformdirs.user_cache_dir("sae-interpret")) / "null-distributions"


def file_of(card: SubjectCard, vector: VectorSettings, tree: TreeSettings, drawn: Mapping[str, int]) -> Path:
    """The file of that subject, kind of vector and kind of tree; `drawn`: which random features."""
    hangs_on = {
        "layout": _LAYOUT,
        "subject": card.model_dump(mode="json", include={"fingerprint", "dtype", "placeholder_id", "per_layer"}),
        "vector": vector.model_dump(mode="json", exclude={"adapter": {"path"}}),
        "tree": tree.model_dump(mode="json", exclude={"prompt"}) | {"prompt": tree.prompt_text},
        "drawn": dict(drawn),
    }
    return folder() / f"{hashlib.sha256(json.dumps(hangs_on, sort_keys=True).encode()).hexdigest()}.json"


def kept(file: Path, n: int) -> NullFigures | None:
    """The figures of n features in the file; None where they are not there or not whole."""
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        figures = NullFigures(tuple(found["divergences"]), tuple(found["entropies_bits"]))
    except (OSError, ValueError, TypeError, KeyError):  # ValueError: neither UTF-8 nor JSON; others: another form
        return None
    return figures if _are_whole(figures, n) else None


def _are_whole(figures: NullFigures, n: int) -> bool:
    divergences, entropies = figures.divergences, [bits for bits in figures.entropies_bits if bits is not None]
    return (
        len(divergences) == len(figures.entropies_bits) == n
        and all(isinstance(figure, float) for figure in [*divergences, *entropies])
        and all(0 <= nats <= math.log(2) + 1e-9 for nats in divergences)
        and all(0 <= bits < math.inf for bits in entropies)
    )


def keep(file: Path, figures: NullFigures) -> None:
    """Writes them, if that is possible."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as part:
                json.dump(asdict(figures), part)
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
