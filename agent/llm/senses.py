"""Reads the senses of a feature off its words' definitions: each noun that heads enough of them is one.

The definitions are those of single words (probes/defining.py), so that a feature of two concepts shows both. The digest
is the only input. Measured on planted features of two concepts and on the demo's of one: tests/bench/senses_demo.py.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from agent.evidence.digest import EvidencePiece, TokenLine
from agent.evidence.heads import head_of
from agent.llm.reading import SIGNIFICANT, akin, vocabulary_lists

MIN_WORDS = 8
"""Fewest defined words that tell."""
SHARE = 0.25
"""Least share of the defined words of each of two senses."""


@dataclass(frozen=True)
class DefinedSenses:
    """Two nouns, the more frequent one first."""

    nouns: tuple[str, str]
    share: float
    """Of the defined words that either heads."""
    cited: tuple[str, ...]
    """Ids of these words."""
    p_value: float
    """Of the list."""


def defined_senses(pieces: Sequence[EvidencePiece]) -> DefinedSenses | None:
    """Returns the two senses that a list of words shows; None if it differs from no random one or shows one or none."""
    for piece in vocabulary_lists(pieces):
        if piece["readout"] is None or piece["readout"]["p_value"] > SIGNIFICANT:
            continue
        told = [line for line in piece["tokens"] if line["definition"]]
        if len(told) >= MIN_WORDS and (found := _two(told, piece["readout"]["p_value"])):
            return found
    return None


def _two(told: Sequence[TokenLine], p_value: float) -> DefinedSenses | None:
    of_noun: dict[str, list[str]] = defaultdict(list)
    for line in told:
        if head := head_of(line["definition"], closed=False):
            of_noun[head.word].append(line["id"])
    ranked = sorted(of_noun, key=lambda noun: (-len(of_noun[noun]), noun))
    if len(ranked) < 2 or akin(*ranked[:2]) or len(of_noun[ranked[1]]) < SHARE * len(told):
        return None
    first, second = ranked[:2]
    cited = (*of_noun[first], *of_noun[second])
    return DefinedSenses((first, second), len(cited) / len(told), cited, p_value)
