"""The head nouns of a definition tree: how much of its probability each has, beside what the null gives it.

"A kind of dog", "a dog that" and "a breed of dog" say the same thing: their probability is summed.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.evidence.definitions import Opening, compared, openings
from agent.evidence.heads import beginning, head_of
from probes.evidence import Tree

FLOOR = 0.005
"""Least cumulative probability of a node that counts as an opening of its own."""
MIN_NULL = 1e-5
"""A null share below it counts as this much: what rounding leaves of nothing has no logarithm."""


@dataclass(frozen=True)
class Noun:
    """A head noun with its part of a tree."""

    word: str
    share: float
    """Of the tree's probability, summed over all its wordings."""
    wordings: int
    """In how many ways its definitions begin, up to it."""
    lift: float | None
    """ln(share / share after ghosts that say nothing), over the nodes that were looked at; None without any."""


def nouns(part: Tree) -> list[Noun]:
    """The head nouns of a `defining_part`, largest share first."""
    shares, wordings = defaultdict[str, float](float), defaultdict[str, set[str]](set)
    for word, opening in _headed(openings(part, FLOOR)):
        shares[word] += opening.share
        wordings[word].add(beginning(opening.text, 0))
    lifts = _lifts(compared(part))
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return [Noun(word, share, len(wordings[word]), lifts.get(word)) for word, share in ranked]


def null_nouns(part: Tree) -> dict[str, float]:
    """The share that each head noun of a `defining_part` has after random directions, as far as was looked at."""
    shares = defaultdict[str, float](float)
    for word, opening in _headed(compared(part)):
        shares[word] += opening.null or 0.0
    return dict(shares)


def _lifts(looked_at: Sequence[Opening]) -> dict[str, float]:
    own, null = defaultdict[str, float](float), defaultdict[str, float](float)
    for word, opening in _headed(looked_at):
        own[word] += opening.share
        null[word] += opening.null or 0.0
    return {word: math.log(share / max(null[word], MIN_NULL)) for word, share in own.items() if share > 0}


def _headed(found: Sequence[Opening]) -> Iterator[tuple[str, Opening]]:
    """Openings with their head nouns. One that breaks off counts only for a noun that is seen in full elsewhere.

    So "a small" has no noun, while "a dog", cut off, adds to the dogs of the same tree.
    """
    heads = [(head_of(opening.text, opening.closed), opening) for opening in found]
    whole = {head.word for head, _ in heads if head is not None and head.bounded}
    yield from ((head.word, opening) for head, opening in heads if head is not None and head.word in whole)
