"""Finds the head noun of a definition by rules of general English: "a breed of dog that barks" -> "dog".

The rules use function words and light nouns only, so they hold for any subject.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[^\w\s]")

_SKIPPED = _words(
    "a an the this that's any some one each every another other various several many certain such only all both its "
    "his her their our your my more most very quite rather often usually typically also being"
)
"""Words before a noun phrase that are not part of it."""

_BOUNDARY = _words(
    "that which who whom whose where when while if because so than then "
    "in of with for on at by from to into onto over under between among against through during after before without "
    "within about across around along like as near upon out up down off "
    "and or but nor is are was were be been has have had can could may might must will would shall should does do did "
    "not it he she they we you i there here"
)
"""Words that end a noun phrase. A participle ends one too where one of these follows it ("kept to guard")."""

_OPENING = _words("in of with by")
"""Words of the boundary that may open a definition: "of a small size"."""

_PARTICIPLES = _words(
    "kept made worn used found grown eaten played spoken built held given sung sold born known seen drawn cut put set "
    "done taken thrown written driven ridden drunk bought brought caught taught thought felt heard said told shown "
    "meant left lost paid read run sent shot sewn spun stood struck sworn torn won wound woven bound bred fed led laid "
    "living growing having being making using wearing playing coming going belonging consisting containing lying "
    "standing resembling relating referring describing"
)

_LIGHT = _words(
    "kind kinds type types sort sorts name names form forms breed breeds piece pieces part parts word words term terms "
    "member members way ways unit units variety varieties species example examples instance instances class classes "
    "style styles branch branches brand brands item items method methods act process state pair set field"
)
"""Nouns that pass their meaning on to the noun after `of` or `for`."""

_LIGHT_SECOND = _words("part parts piece pieces item items type types form forms kind kinds member members")
"""Light nouns that pass it on to the noun before them: "a body part"."""


_FUNCTION_WORDS = _SKIPPED | _BOUNDARY | _OPENING | _PARTICIPLES

_STANDS_FOR = {"someone": "person", "somebody": "person", "anyone": "person", "something": "thing", "anything": "thing"}


@dataclass(frozen=True)
class Head:
    """A definition's head noun with its probability."""

    word: str
    bounded: bool
    """True if the noun phrase is known to end there; else the text broke off and more of it may follow."""
    end: int
    """Number of words and signs up to the end of the noun phrase."""


@lru_cache(maxsize=65_536)
def head_of(text: str, closed: bool) -> Head | None:
    """Returns the head of a definition, in lower case; None if there is none yet. If not `closed`, it may break off."""
    words = [word.lower() for word in _WORD.findall(text)]
    if words[:1] == ["to"]:
        return _infinitive(words, closed)
    for phrase, bounded, light, end in _phrases(words):
        if light:
            continue
        if not phrase:
            return None
        word = phrase[-2] if len(phrase) > 1 and phrase[-1] in _LIGHT_SECOND else phrase[-1]
        return Head(_STANDS_FOR.get(word, word), bounded or closed, end)
    return None


def beginning(text: str, more: int) -> str:
    """Returns a definition up to `more` words after its head; all of it if there are no more.

    How a definition goes on after its head a model often writes by habit.
    """
    head = head_of(text, closed=True)
    spans = list(_WORD.finditer(text))
    most = more + (0 if head is None else head.end)
    return text if len(spans) <= most else text[: spans[most - 1].end()]


def _infinitive(words: Sequence[str], closed: bool) -> Head | None:
    """Returns the verb of "to walk slowly"; of "to be happy", the word after `be`."""
    content = [place for place, word in enumerate(words) if place and word not in _SKIPPED and word != "be"]
    if not content:
        return None
    word = words[content[0]]
    if not word[0].isalpha() or word in _BOUNDARY:
        return None
    return Head(word, closed or len(content) > 1, content[0] + 1)


def _phrases(words: Sequence[str]) -> Iterator[tuple[list[str], bool, bool, int]]:
    """Yields noun phrases up to the first that is no light noun with `of`: words, bounded, light, end."""
    phrase: list[str] = []
    for position, word in enumerate(words):
        if not phrase and (word in _SKIPPED or word in _OPENING):
            continue
        if not _ends_phrase(words, position, phrase):
            phrase.append(word)
            continue
        light = bool(phrase) and phrase[-1] in _LIGHT and word in ("of", "for")
        yield phrase, True, light, position
        if not light:
            return
        phrase = []
    yield phrase, False, False, len(words)


def _ends_phrase(words: Sequence[str], position: int, phrase: Sequence[str]) -> bool:
    word = words[position]
    if word in _BOUNDARY or word in _SKIPPED or not word[0].isalpha():
        return True
    following = words[position + 1] if position + 1 < len(words) else None
    return bool(phrase) and _is_participle(word) and following in _BOUNDARY


def _is_participle(word: str) -> bool:
    return word in _PARTICIPLES or (len(word) > 4 and word.endswith("ed") and not word.endswith("eed"))


def is_function_word(word: str) -> bool:
    """Tests if a word in lower case is one of the rules' own, which names nothing."""
    return word in _FUNCTION_WORDS
