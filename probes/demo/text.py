"""Endless text about the world, every word of it marked with the concepts it stands for.

Documents are definitions in the original base prompt's form, prose, lists, dialogue and code. A fifth of every word's
occurrences stand without a space before them (after a quote, a bracket or a line's start), because byte-level BPE has
another token for them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from typing import TypeVar

import numpy as np

from probes.demo.world import SELF, SLOT, Concept, WordSense, World

UNSPACED_SHARE = 0.2

_T = TypeVar("_T")

_SOUNDS_CONSONANT = re.compile(r"(uni(?!n)|use|eu|uk|one\b)")
_SOUNDS_VOWEL = re.compile(r"([aeiou]|hour|honest|heir|honor)")

_OPENERS = (
    "last {time}", "in {city}", "after the {event}", "{manner}", "at first", "to everyone's surprise", "long ago",
    "as usual", "in the {room}", "near the {building}", "one {time}", "because of the {weather}", "for {number} days",
    "in those years", "with great {emotion}", "some say that", "i think that", "we all knew that",
    "according to the {worker}", "in the {writing}", "before {time}", "beside the {land}", "thanks to {name}",
    "without a {sound}", "if you ask {name}", "believe it or not",
)  # fmt: skip
_JOINTS = (
    ", and", ", but", "because", "while", ", so", "until", "; then", ", though", "before", ", and later", "when",
    ", yet",
)  # fmt: skip
_CLOSERS = (
    ", said {name}", ", or so the {worker} says", ", as my {relative} told me", ", {manner} enough",
    ", to the {emotion} of {name}", ", wrote {name} in the {writing}", " in {country}", " every {time}",
    ", {name} thought", " with {virtue}", ", they say in {city}",
)  # fmt: skip
_QUESTIONS = (
    "who",
    "what",
    "how",
    "where",
    "when",
    "why",
    "which",
    "is",
    "are",
    "do",
    "does",
    "did",
    "have",
    "has",
    "can",
)
_DEFINITIONS = (
    'A typical definition of "{x}" would be "{definition}".',
    '"{x}" means {definition}.',
    "define {x}: {definition}.",
    "what does {x} mean? {definition}.",
    "{x} ({definition}).",
    'the word "{x}" stands for {definition}.',
)
_HEADED_LISTS = (
    "{head}: {items}.",
    "{head} words: {items}.",
    "examples of {head} are {items}.",
    "under {head} the book has {items}.",
    "({head}) {items}.",
)
_PLAIN_LISTS = (
    "{items}.",
    "({items})",
    "he wrote down {items}.",
    "choose between {items}.",
    "[{items}]",
    "not {items}!",
)
_REPLIES = (
    '"{a}," said {name}.',
    '"{a}," {name} told the {worker}.',
    '"{a}", said the {relative}. "{b}."',
    "{name}: {a}.",
    '"{a}!"',
    "- {a}.",
    'the {worker} asked: "{a}?"',
    '"no," said {name}, "{a}."',
)
_CODE = (
    "def {function}({variable}):\n    return {variable} + {number}",
    "for {variable} in {variable}:\n    {function}({variable})",
    "{variable} = {function}({variable}, {variable})",
    "if {variable} > {number}:\n    {variable} = {function}({variable})",
    'print("{color}", {variable})',
    "while {variable}:\n    {variable} = {function}({number})",
    'x["{fruit}"] = {function}({variable})',
    "# call {function} before {function}\n{variable} = ({variable} + 1)",
    "return {function}({function}({variable}))",
    'names = ["{name}", "{name}"]\n{variable} = {function}(names)',
)


@dataclass(frozen=True)
class WordMark:
    """A word of the world in a text: characters start to end (exclusive), and everything it stands for there."""

    start: int
    end: int
    concepts: tuple[str, ...]


@dataclass(frozen=True)
class MarkedText:
    """A document and its marks, in order."""

    text: str
    marks: tuple[WordMark, ...]


@dataclass(frozen=True)
class _Piece:
    text: str
    concepts: tuple[str, ...] = ()


class DocumentWriter:
    """Writes documents about a world; the same seed writes the same documents."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = np.random.default_rng(seed)
        self._undefined = world.undefined_words()
        self._seen: Counter[str] = Counter()
        self._unspaced: Counter[str] = Counter()
        self._frames: dict[str, list[_Piece | str]] = {}
        self._reserve: list[float] = []
        self._topics = [c for c in world.concepts.values() for _ in range(1 + (len(c.words) > 6))]
        self._kinds: list[tuple[float, Callable[[], list[_Piece]]]] = [
            (0.32, self._definition),
            (0.80, self._prose),
            (0.88, self._list),
            (0.96, self._dialogue),
            (1.0, self._code),
        ]

    def documents(self) -> Iterator[MarkedText]:
        """Documents without end."""
        while True:
            roll = self._uniform()
            yield _join(next(write for share, write in self._kinds if roll < share)())

    # kinds of document

    def _definition(self) -> list[_Piece]:
        sense = self._pick(self._definable)
        frame = _DEFINITIONS[0] if self._uniform() < 0.7 else self._pick(_DEFINITIONS[1:])
        before, after = frame.split("{definition}")
        return [*self._fill(before, sense), *self._unquoted(self._meaning(sense)), *self._fill(after, sense)]

    @staticmethod
    def _unquoted(pieces: list[_Piece]) -> list[_Piece]:
        """Brackets for quotes: a definition stands in quotes itself, which its first inner quote would end."""
        brackets = cycle("()")
        return [_Piece(next(brackets)) if piece.text == '"' else piece for piece in pieces]

    def _meaning(self, sense: WordSense) -> list[_Piece]:
        concept = self._world.concepts[sense.concept]
        general = concept
        if sense.word in concept.names and concept.parent:
            general = self._world.concepts[concept.parent]
        lead, tail = self._fill(self._pick(general.leads)), self._fill(self._pick(concept.tails))
        if general.parent and self._uniform() < 0.1:
            lead += [_Piece(", "), *self._fill(self._pick(self._world.concepts[general.parent].leads))]
        return [*lead, _Piece(" "), *tail]

    def _prose(self) -> list[_Piece]:
        topic = self._pick(self._topics)
        gap = "\n" if self._uniform() < 0.2 else " "
        pieces: list[_Piece] = []
        for _ in range(int(self._uniform() * 3) + 1):
            topic = topic if self._uniform() < 0.4 else self._pick(self._topics)
            sentence = self._sentence(topic)
            stop = "?" if sentence[0].text.split(" ")[0] in _QUESTIONS else "."
            pieces += [*sentence, _Piece(stop + gap)]
        return pieces

    def _sentence(self, topic: Concept) -> list[_Piece]:
        sentence = self._clause(topic)
        if self._uniform() < 0.3:
            sentence = [*self._fill(self._pick(_OPENERS)), _Piece(" "), *sentence]
        if self._uniform() < 0.2:
            sentence += [_Piece(self._joint()), *self._clause(self._pick(self._topics))]
        if self._uniform() < 0.12:
            sentence += self._fill(self._pick(_CLOSERS))
        return sentence

    def _joint(self) -> str:
        joint = self._pick(_JOINTS)
        return f"{joint} " if joint[0] in ",;" else f" {joint} "

    def _clause(self, topic: Concept) -> list[_Piece]:
        frame = self._pick(topic.sentences)
        return self._fill(frame, self._pick(self._world.members[topic.name]))

    def _list(self) -> list[_Piece]:
        topic = self._pick(self._topics)
        headed = self._uniform() < 0.5
        members = self._world.members[topic.name]
        chosen = [self._pick(members) for _ in range(2 + int(self._uniform() * 5))]
        items = [s for s in dict.fromkeys(chosen) if not (headed and s.word in self._undefined)]
        if not items:
            return self._prose()
        before, after = self._pick(_HEADED_LISTS if headed else _PLAIN_LISTS).split("{items}")
        comma = self._pick((", ", "\n", " / ", ", "))
        listed = [piece for s in items for piece in (*self._fill("{x}", s), _Piece(comma))][:-1]
        head = WordSense(self._pick(topic.names), topic.name)
        return [*self._fill(before.replace("{head}", "{x}"), head), *listed, _Piece(after)]

    def _dialogue(self) -> list[_Piece]:
        pieces: list[_Piece] = []
        topic = self._pick(self._topics)
        for _ in range(int(self._uniform() * 3) + 1):
            for part in re.split(r"(\{a\}|\{b\})", self._pick(_REPLIES)):
                pieces += self._clause(topic) if part in ("{a}", "{b}") else self._fill(part)
            pieces.append(_Piece("\n"))
        return pieces

    def _code(self) -> list[_Piece]:
        lines = [self._fill(self._pick(_CODE)) for _ in range(int(self._uniform() * 3) + 1)]
        return [piece for line in lines for piece in (*line, _Piece("\n"))]

    # filling frames

    @cached_property
    def _definable(self) -> Sequence[WordSense]:
        return [s for s in self._world.senses if s.word not in self._undefined]

    def _fill(self, frame: str, own: WordSense | None = None) -> list[_Piece]:
        pieces: list[_Piece] = []
        parts = self._frames.setdefault(frame, self._parse(frame)) if frame not in self._frames else self._frames[frame]
        for i, part in enumerate(parts):
            if isinstance(part, _Piece):
                if part.concepts:
                    self._note(part.text, spaced=bool(pieces) and pieces[-1].text.endswith(" "))
                pieces.append(part)
                continue
            sense = own if part == SELF and own else self._pick(self._world.members[part])
            follower = parts[i + 1] if i + 1 < len(parts) else None
            self._place(sense, pieces, follower.text if isinstance(follower, _Piece) else "")
        return pieces

    def _place(self, sense: WordSense, pieces: list[_Piece], follower: str) -> None:
        """Adds the word, with its article in agreement, in quotes or brackets when it has too often had a space."""
        before = pieces[-1].text if pieces else ""
        if (before == "a " or before.endswith((" a ", '"a ', "(a "))) and _takes_an(sense.word):
            pieces[-1] = _Piece(before[:-1] + "n ", pieces[-1].concepts)
        spaced = before.endswith(" ")
        word = _Piece(sense.word, self._world.lineage(sense.concept))
        behind = self._unspaced[sense.word] < UNSPACED_SHARE * self._seen[sense.word]
        if spaced and behind and not follower.startswith("(") and self._uniform() < 0.6:
            marks = '""' if self._uniform() < 0.7 else "()"
            pieces += [_Piece(marks[0]), word, _Piece(marks[1])]
            spaced = False
        else:
            pieces.append(word)
        self._note(sense.word, spaced)

    def _note(self, word: str, spaced: bool) -> None:
        self._seen[word] += 1
        self._unspaced[word] += not spaced

    def _parse(self, frame: str) -> list[_Piece | str]:
        parts: list[_Piece | str] = []
        for i, part in enumerate(SLOT.split(frame)):
            parts += [part] if i % 2 else self._literal(part)
        return parts

    def _literal(self, text: str) -> list[_Piece | str]:
        """A literal stretch with the world's words in it marked; where such a word has two senses, with both."""
        known = self._world.concepts_of_word
        split = re.split(r"([a-z]+)", text)
        merged: list[_Piece | str] = []
        plain = ""
        for part in split:
            if part in known:
                merged += [_Piece(plain), _Piece(part, tuple(sorted(known[part])))]
                plain = ""
            else:
                plain += part
        return [p for p in [*merged, _Piece(plain)] if isinstance(p, str) or p.text]

    # chance, drawn in blocks since one call of numpy a draw is slow

    def _uniform(self) -> float:
        if not self._reserve:
            self._reserve = self._rng.random(65536).tolist()
        return self._reserve.pop()

    def _pick(self, options: Sequence[_T]) -> _T:
        return options[int(self._uniform() * len(options))]


def _takes_an(word: str) -> bool:
    return bool(_SOUNDS_VOWEL.match(word)) and not _SOUNDS_CONSONANT.match(word)


def _join(pieces: Sequence[_Piece]) -> MarkedText:
    marks, position = [], 0
    for piece in pieces:
        end = position + len(piece.text)
        if piece.concepts:
            marks.append(WordMark(position, end, piece.concepts))
        position = end
    return MarkedText("".join(piece.text for piece in pieces).rstrip(), tuple(marks))
