"""Which word of the embedded subject's world stands at each token, so that words absent from a set are known.

Looks at the text alone; a word is the same type in all its meanings.
"""

import re
from collections.abc import Sequence
from itertools import accumulate

from probes.demo.world import load_world

_WORD = re.compile(r"[a-z]+")


def word_types(tokens: Sequence[str]) -> tuple[str | None, ...]:
    """For each token of a text the word of the world that it belongs to, None where it belongs to none.

    A word in several tokens is given to each of them; a plural or other longer word is none of the world's.
    """
    known = load_world().concepts_of_word
    ends = list(accumulate(map(len, tokens)))
    found: list[str | None] = [None] * len(tokens)
    place = 0
    for match in _WORD.finditer("".join(tokens)):
        if match[0] not in known:
            continue
        while ends[place] <= match.start():
            place += 1
        for i in range(place, len(tokens)):
            found[i] = match[0]
            if ends[i] >= match.end():
                break
    return tuple(found)
