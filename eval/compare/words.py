"""The words of a definition tree with the probability of each, and a vector made of them.

A token is no word: `sax` and `ophone` are one.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from agent.evidence.definitions import CLOSING
from eval.scorers.base import Embedder
from probes.evidence import Tree

MAX_WORDS = 100
"""Of a tree, the heaviest, count."""

_NOTHING = 1e-12
"""What rounding leaves of a word that is never ended where it stands."""
_WORD = re.compile(r"\w+")


def tree_words(tree: Tree) -> dict[str, float]:
    """Every word inside the definitions with its weight, the heaviest first.

    A word weighs the probability of coming to its end there, summed over the places where it stands: p, or p times the
    lift over the null where the tree has a contrast, nothing where that is negative. What hangs below a closing quote
    is no part of a definition.
    """
    begun: list[str | None] = [""]
    ending = list(tree.probabilities)
    total: defaultdict[str, float] = defaultdict(float)
    factors = _factors(tree)
    for node in range(1, tree.n_nodes):
        parent = tree.parents[node]
        before = begun[parent]
        if before is None:
            begun.append(None)
            continue
        text, closing, _ = tree.texts[tree.token_ids[node]].partition(CLOSING)
        if before and _WORD.match(text):
            ending[parent] -= tree.probabilities[node]
            text = before + text
        *whole, last = _WORD.findall(text) or [""]
        if last and (closing or not text.endswith(last)):
            whole, last = [*whole, last], ""
        for word in whole:
            total[word] += tree.probabilities[node] * factors[node]
        begun.append(None if closing else last)
    for word, mass, factor in zip(begun, ending, factors, strict=True):
        if word:
            total[word] += max(mass, 0.0) * factor
    return {word: weight for word, weight in sorted(total.items(), key=lambda item: -item[1]) if weight > _NOTHING}


def _factors(tree: Tree) -> Sequence[float]:
    """By node: its lift over the null, not below 0; 1 everywhere without a contrast.

    A node that was too improbable to be looked at has its parent's, which is part of its own.
    """
    if tree.contrast is None:
        return [1.0] * tree.n_nodes
    factors: list[float] = []
    for lift, parent in zip(tree.lifts, tree.parents, strict=True):
        factors.append(factors[parent] if lift is None and parent >= 0 else max(lift or 0.0, 0.0))
    return factors


class WordVectors:
    """Vectors of words, each made once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Float[np.ndarray, " d"]] = {}

    def mean(self, words: Mapping[str, float]) -> Float[np.ndarray, " d"] | None:
        """The mean of the heaviest words' vectors by their weights; None for no words."""
        heaviest = [*words][:MAX_WORDS]
        lacking = [word for word in heaviest if word not in self._known]
        if lacking:
            self._known |= zip(lacking, self._embedder.encode(lacking), strict=True)
        if not heaviest:
            return None
        weights = np.array([words[word] for word in heaviest])
        found: np.ndarray = np.average([self._known[word] for word in heaviest], axis=0, weights=weights)
        return found
