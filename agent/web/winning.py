"""Finds the settings of the evidence that labels rest on."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from agent.evidence.wording import tree_words, vector_words
from agent.log.evidence import LoggedPiece, Rested, rested
from agent.log.run_log import RunLog
from probes.proportion import Proportion
from probes.settings import ProbeSettings

_CITED = re.compile(r"E(\d{1,6})\.")
_MAX_WINNERS = 12
_WORDS = {
    "projection": "the decoder row itself",
    "experiment": "texts that the explainer had run",
    "neighbours": "the nearest features",
    "continuations": "texts written with the feature clamped",
    "sweep": "the best of several settings",
}
"""Kinds of evidence whose settings say nothing that a reader looks for."""


@dataclass(frozen=True)
class Winner:
    """Settings, and the proportion of labels that rest on their evidence."""

    kind: str
    words: str
    share: Proportion


@dataclass(frozen=True)
class WinnerTable:
    """Winning settings, the most frequent first."""

    n_labels: int
    """Number of labels that were looked at."""
    winners: Sequence[Winner]


def winning_settings(log: RunLog, run_id: int, n_labels: int, most: int) -> WinnerTable:
    """Counts settings by citations; a label that cites nothing rests on all of its last round.

    Where a run has more than `most` labels, as many are looked at, evenly spread over its features.
    """
    found = log.read(rested, run_id, n_labels, most)
    counts = Counter(settings for label in found for settings in _settings_of(label))
    winners = [Winner(kind, words, Proportion(k, len(found))) for (kind, words), k in counts.most_common(_MAX_WINNERS)]
    return WinnerTable(len(found), winners)


def _settings_of(label: Rested) -> set[tuple[str, str]]:
    places = {int(match[1]) for name in label.cited if (match := _CITED.match(name))}
    pieces = [piece for place, piece in enumerate(label.pieces, start=1) if place in places]
    return {_words(piece) for piece in pieces or [p for p in label.pieces if p.round == label.rounds]}


def _words(piece: LoggedPiece) -> tuple[str, str]:
    return piece.kind, _settings_words(piece.kind, piece.settings)


@lru_cache(maxsize=10_000)
def _settings_words(kind: str, settings: str) -> str:
    found = ProbeSettings.model_validate_json(settings)
    if kind == "tree":
        return f"{tree_words(found)}, prompt {found.tree.prompt}"
    if kind == "tokens":
        return f"{vector_words(found.vector)}, exponent {found.tokens.exponent:g}"
    return _WORDS[kind]
