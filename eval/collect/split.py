"""Splits a feature's examples into those that an explainer may see and those kept for scoring, once and for all.

Near-duplicates go first, so that no text stands on both sides in other clothes. A document is on one side for every
feature, by a hash of the seed and of what it says: the choice needs no list and comes out the same wherever it is made,
also from a file that was renamed or sorted anew.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

from probes.examples import Example, Split

SHOWN_SHARE = 0.5
"""Of the documents."""
ALIKE = 0.6
"""Jaccard similarity of two texts' shingles from which on the second is a near-duplicate of the first."""
SHINGLE = 3
"""Words in a row."""

_WORD = re.compile(r"\w+|[^\w\s]")


def split_of(document: str, seed: int) -> Split:
    """The side that a document is on: by what stands behind a `#` in its name, which is a hash of its text, or by the
    whole name where its text is not known."""
    text = document.rpartition("#")[2]
    digest = hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
    return "shown" if int.from_bytes(digest[:8], "big") / 2**64 < SHOWN_SHARE else "held_out"


def without_duplicates(examples: Iterable[Example]) -> list[Example]:
    """The examples less those that read nearly like an earlier one, in their order.

    Two texts are alike by the Jaccard similarity of their word 3-grams (Broder 1997), of all of them and not by
    sketches: a feature has a hundred examples.
    """
    kept: list[Example] = []
    sizes: list[int] = []
    holders: dict[int, list[int]] = defaultdict(list)
    for example in examples:
        own = _hashed(example.text)
        shared = Counter(chain.from_iterable(holders[shingle] for shingle in own if shingle in holders))
        if any(_jaccard(n, len(own), sizes[place]) >= ALIKE for place, n in shared.items()):
            continue
        for shingle in own:
            holders[shingle].append(len(kept))
        kept.append(example)
        sizes.append(len(own))
    return kept


def peak_word(example: Example) -> str:
    """The whole word, in lower case, that the token with the highest activation is part of; empty for none.

    On the embedded subject, where words are concepts, this is the word's type.
    """
    place = max(range(len(example.activations)), key=example.activations.__getitem__)
    start = sum(map(len, example.tokens[:place]))
    token = example.tokens[place]
    middle = start + len(token) - len(token.lstrip())
    for found in re.finditer(r"\w+", example.text):
        if found.start() <= middle < found.end():
            return found[0].lower()
    return ""


def on_new_words(held_out: Sequence[Example], shown: Iterable[Example]) -> list[Example]:
    """The held-out examples whose peak stands on a word that no shown example has anywhere."""
    seen = {word for example in shown for word in re.findall(r"\w+", example.text.lower())}
    return [example for example in held_out if (word := peak_word(example)) and word not in seen]


def shingles(text: str) -> set[tuple[str, ...]]:
    """The runs of so many words in it, in lower case; a shorter text is one of its own."""
    words = _WORD.findall(text.lower())
    if len(words) <= SHINGLE:
        return {tuple(words)}
    return {*zip(*(words[place:] for place in range(SHINGLE)), strict=False)}


@lru_cache(maxsize=4096)
def _hashed(text: str) -> frozenset[int]:
    """The shingles as numbers, which compare faster; remembered, since many features share a negative."""
    return frozenset(map(hash, shingles(text)))


def _jaccard(n_shared: int, n_one: int, n_other: int) -> float:
    return n_shared / (n_one + n_other - n_shared)
