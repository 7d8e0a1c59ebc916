"""The facts known of a label before it is scored, in numbers: the columns that a calibration may be fitted on.

Each is a function of a label and its evidence and returns None where it is not known. To add one, add it to `COLUMNS`.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from agent.evidence.digest import EvidencePiece, citable, digest
from agent.llm.reading import akin, plain
from agent.log.labels import LabelRow
from probes.evidence import Evidence, TokenList, Tree

_WORD = re.compile(r"[^\W\d_]+")
_ANY_SCALE = 1.0
"""Pieces of evidence tell their scale in units of the subject's, which no column looks at."""


@dataclass(frozen=True)
class LabelWithEvidence:
    """A label with a way to its evidence."""

    label: LabelRow
    read: Callable[[], Sequence[Evidence]]
    """Reads its evidence, round after round, once some column asks for it."""

    @cached_property
    def evidence(self) -> Sequence[Evidence]:
        """Returns the evidence that the label's explainer was shown."""
        return self.read()

    @cached_property
    def pieces(self) -> list[EvidencePiece]:
        """The evidence as the explainer read it."""
        return digest(self.evidence, _ANY_SCALE)


@dataclass(frozen=True)
class CalibrationColumn:
    """A number that is known of a label, or None."""

    words: str
    of: Callable[[LabelWithEvidence], float | None]


def _list_p(known: LabelWithEvidence) -> float | None:
    return _log_of_least(item.p_value for item in known.evidence if isinstance(item, TokenList))


def _tree_p(known: LabelWithEvidence) -> float | None:
    return _log_of_least(
        item.contrast.p_value for item in known.evidence if isinstance(item, Tree) and item.contrast is not None
    )


def _log_of_least(p_values: Iterator[float | None]) -> float | None:
    """Base 10; p-values of random directions are never 0, those of a log that came from elsewhere may be."""
    found = [p for p in p_values if p is not None and p > 0]
    return math.log10(min(found)) if found else None


def _sides(known: LabelWithEvidence) -> float | None:
    """Trees of one side count once, however often they were grown."""
    words = [word.lower() for word in _WORD.findall(known.label.label)]
    said: dict[tuple[str, str], bool] = {}
    for piece in known.pieces:
        lines = piece["nouns"] if piece["kind"] == "tree" else citable(piece)
        if lines:
            side = (piece["kind"], piece["side"])
            said[side] = said.get(side, False) or any(_says(line["text"], words) for line in lines)
    return sum(said.values()) / len(said) if said and words else None


def _says(text: str, words: Sequence[str]) -> bool:
    return any(plain(text) == word or akin(plain(text), word) for word in words)


def _first_z(known: LabelWithEvidence) -> float | None:
    lists = (item.z for item in known.evidence if isinstance(item, TokenList))
    return next((z[0] for z in lists if z), None)


COLUMNS: Mapping[str, CalibrationColumn] = {
    "confidence": CalibrationColumn("the explainer's stated confidence", lambda known: known.label.confidence),
    "list_p": CalibrationColumn("log10 of the token list's p-value", _list_p),
    "tree_p": CalibrationColumn("log10 of the smallest p-value of a tree", _tree_p),
    "sides": CalibrationColumn(
        "proportion of tree weights, list and projection that contain a word of the label", _sides
    ),
    "first_z": CalibrationColumn("z of the token that activates the feature most", _first_z),
    "rounds": CalibrationColumn("rounds of evidence", lambda known: float(known.label.rounds)),
}
"""By name; a calibration names those that it needs."""

STATED = "confidence"


def values_of(known: LabelWithEvidence, names: Sequence[str]) -> dict[str, float | None]:
    """Some columns of a label; None also for a name that this version does not know."""
    return {name: COLUMNS[name].of(known) if name in COLUMNS else None for name in names}
