"""Measures how far the trees of several base prompts say the same of one vector.

Trees are compared by the words that are more probable in them than under the null distribution, so "a" and "the" count
for nothing in any language, without a list of stop words.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from probes.evidence import Tree


def agreement(trees: Sequence[Tree]) -> float | None:
    """0 where no two of the trees share a word, 1 where all say the same; None where fewer than two say anything.

    The mean over all pairs of the weighted Jaccard index (M. Ruzicka, 1958): the sum over words of the lesser
    excess, by that of the greater.
    """
    said = [words for words in map(excess, trees) if words]
    pairs = [_overlap(*pair) for pair in combinations(said, 2)]
    return sum(pairs) / len(pairs) if pairs else None


def excess(tree: Tree) -> dict[str, float]:
    """By how much each word is more probable somewhere in the tree than after the null's ghosts, where it is.

    As far as nodes were looked at; nothing for a tree without contrast.
    """
    if tree.contrast is None:
        return {}
    seen: list[frozenset[str]] = []
    found: dict[str, float] = defaultdict(float)
    columns = zip(tree.parents, tree.token_ids, tree.probabilities, tree.contrast.null, strict=True)
    for parent, token_id, probability, null in columns:
        word = "" if parent < 0 else tree.texts[token_id].strip().lower()
        above = frozenset[str]() if parent < 0 else seen[parent]
        if word not in above and null is not None and any(map(str.isalnum, word)):
            found[word] += probability - null
        seen.append(above | {word})
    return {word: more for word, more in found.items() if more > 0}


def _overlap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    words = one.keys() | other.keys()
    pairs = [(one.get(word, 0.0), other.get(word, 0.0)) for word in words]
    return sum(map(min, pairs)) / sum(map(max, pairs))
