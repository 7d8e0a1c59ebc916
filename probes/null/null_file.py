"""A null distribution's figures, kept in the user's cache: they are costly and always the same.

One file for each subject, kind of vector and kind of tree; see `probes.doors.cached_json`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from probes.doors.cached_json import cache_folder, file_name, read_json, write_json
from probes.presets import SubjectCard
from probes.settings import TreeSettings, VectorSettings

_LAYOUT = 3
"""Of the files; to be raised when trees or figures come out otherwise, so that they are measured anew."""


@dataclass(frozen=True)
class NullFigures:
    """The figures of random features' trees, one entry per feature."""

    divergences: tuple[float, ...]
    """From the null, in nats."""
    entropies_bits: tuple[float | None, ...]
    """Of the first token; None where the tree is only its root."""


def folder() -> Path:
    """Returns the folder in which they are kept."""
    return cache_folder("null-distributions")


def file_of(card: SubjectCard, vector: VectorSettings, tree: TreeSettings, drawn: Mapping[str, int]) -> Path:
    """The file of that subject, kind of vector and kind of tree; `drawn`: which random features."""
    hangs_on = {
        "layout": _LAYOUT,
        "subject": card.model_dump(mode="json", include={"fingerprint", "dtype", "placeholder_id", "per_layer"}),
        "vector": vector.model_dump(mode="json", exclude={"adapter": {"path"}}),
        "tree": tree.model_dump(mode="json", exclude={"prompt"}) | {"prompt": tree.prompt_text},
        "drawn": dict(drawn),
    }
    return folder() / file_name(hangs_on)


def kept(file: Path, n: int) -> NullFigures | None:
    """The figures of n features in the file; None where they are not there or not whole."""
    found = read_json(file)
    try:
        figures = NullFigures(tuple(found["divergences"]), tuple(found["entropies_bits"]))
    except (TypeError, KeyError):  # another form
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
    write_json(file, asdict(figures))
