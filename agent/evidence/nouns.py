"""The head nouns of a definition tree, with their shares of its probability and under the null distribution.

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
    """Share of the tree's probability, summed over all its wordings."""
    wordings: int
    """Number of different beginnings up to the noun."""
    lift: float | None
    """ln(share / share under the null distribution), over the compared nodes; None without any."""


def nouns(part: Tree) -> list[Noun]:
    """Returns the head nouns of a `defining_part`, largest share first."""
    shares, wordings = defaultdict[str, float](float), defaultdict[str, set[str]](set)
    for word, opening in _headed(openings(part, FLOOR)):
        shares[word] += opening.share
        wordings[word].add(beginning(opening.text, 0))
    lifts = _lifts(compared(part))
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return [Noun(word, share, len(wordings[word]), lifts.get(word)) for word, share in ranked]


def null_nouns(part: Tree) -> dict[str, float]:
    """Returns each head noun's share under random directions, over the compared nodes of a `defining_part`."""
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
    """Returns openings with their head nouns. A broken one counts only for a noun that is seen in full elsewhere.

    So "a small" has no noun, while "a dog", cut off, adds to the dogs of the same tree.
    """
    heads = [(head_of(opening.text, opening.closed), opening) for opening in found]
    whole = {head.word for head, _ in heads if head is not None and head.bounded}
    yield from ((head.word, opening) for head, opening in heads if head is not None and head.word in whole)
