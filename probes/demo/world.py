"""The small world that the embedded subject's language is about: concepts, their words, and frames to use them in.

The lexicon's tables are data (`lexicon/*.toml`); this module reads and checks them.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np

SLOT = re.compile(r"\{(\w+)\}")
SELF = "x"


@dataclass(frozen=True)
class Concept:
    """A group of words that mean the same kind of thing, with the frames that show how they are used."""

    name: str
    parent: str | None
    synonyms: tuple[str, ...]
    words: tuple[str, ...]
    leads: tuple[str, ...]
    """Openings of a definition; each holds the concept's name or a synonym."""
    tails: tuple[str, ...]
    """Ends of a definition."""
    sentences: tuple[str, ...]
    """Each holds `{x}`, the word itself, once."""

    @property
    def names(self) -> tuple[str, ...]:
        """The concept's name and its synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True)
class WordSense:
    """A word in one of its meanings."""

    word: str
    concept: str


@dataclass(frozen=True)
class World:
    """All concepts, by name."""

    concepts: Mapping[str, Concept]

    def lineage(self, concept: str) -> tuple[str, ...]:
        """The concept and everything it is a kind of, most specific first."""
        parent = self.concepts[concept].parent
        return (concept,) if parent is None else (concept, *self.lineage(parent))

    @cached_property
    def senses(self) -> tuple[WordSense, ...]:
        """Every word with its own (most specific) concept, concept names and synonyms among them."""
        return tuple(WordSense(w, c.name) for c in self.concepts.values() for w in (*c.words, *c.names))

    @cached_property
    def concepts_of_word(self) -> Mapping[str, frozenset[str]]:
        """Everything that a word can mean, over all its senses."""
        found: dict[str, set[str]] = {}
        for sense in self.senses:
            found.setdefault(sense.word, set()).update(self.lineage(sense.concept))
        return {word: frozenset(concepts) for word, concepts in found.items()}

    @cached_property
    def members(self) -> Mapping[str, tuple[WordSense, ...]]:
        """Returns the words that may fill a slot of a concept: its own and its descendants' (not the concepts'
        names).
        """
        filled: dict[str, list[WordSense]] = {name: [] for name in self.concepts}
        for concept in self.concepts.values():
            for ancestor in self.lineage(concept.name):
                filled[ancestor] += [WordSense(word, concept.name) for word in concept.words]
        return {name: tuple(senses) for name, senses in filled.items()}

    @cached_property
    def concept_of_name(self) -> Mapping[str, str]:
        """The concept that a name or synonym stands for."""
        return {name: concept.name for concept in self.concepts.values() for name in concept.names}

    def undefined_words(self, share: float = 0.18, seed: int = 0) -> frozenset[str]:
        """Words that no text ever defines, drawn evenly from every concept; two-sense words are never among them."""
        rng = np.random.default_rng(seed)
        single = {word for word, n in Counter(s.word for s in self.senses).items() if n == 1}
        chosen: set[str] = set()
        for concept in self.concepts.values():
            words = [w for w in concept.words if w in single]
            chosen.update(rng.permutation(words)[: round(share * len(concept.words))].tolist())
        return frozenset(chosen)


@cache
def load_world() -> World:
    """The world as its lexicon describes it. Raises ValueError where the lexicon breaks its own rules."""
    concepts: dict[str, Concept] = {}
    for path in sorted(files(__package__).joinpath("lexicon").iterdir(), key=lambda p: p.name):
        for name, table in tomllib.loads(path.read_text("utf-8")).items():
            concepts[name] = _concept(name, table)
    _check(concepts)
    return World(concepts)


def _concept(name: str, table: dict[str, Any]) -> Concept:
    return Concept(
        name=name,
        parent=table.get("parent"),
        synonyms=tuple(table["synonyms"]),
        words=tuple(dict.fromkeys(table["words"].split())),
        leads=tuple(table["leads"]),
        tails=tuple(table["tails"]),
        sentences=tuple(table["sentences"]),
    )


def _check(concepts: Mapping[str, Concept]) -> None:
    for concept in concepts.values():
        for frame in concept.sentences:
            if frame.count("{x}") != 1:
                raise ValueError(f"{concept.name}: a sentence holds {{x}} exactly once: {frame!r}")
        for frame in (*concept.leads, *concept.tails, *concept.sentences):
            if unknown := set(SLOT.findall(frame)) - {SELF, *concepts}:
                raise ValueError(f"{concept.name}: unknown slot {unknown} in {frame!r}")
        if not all(set(lead.split()) & set(concept.names) for lead in concept.leads):
            raise ValueError(f"{concept.name}: every lead must hold the concept's name or a synonym")
