"""A scripted explainer that knows the words of the demo's concepts, and reads nothing but its prompts.

Without experiments it labels by the concept that has most tokens of the vocabulary list. With them it first has words
of up to three concepts tried in sentences, none of which stands in the list, keeps those that activate, and where the
concept has kinds asks for the nearest features and takes the kind that tells them apart.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from agent.moves.texts import TESTS_OF_ALL
from agent.schema import Proposal, Sense, TextTest
from probes.demo.world import World, load_world
from tests.llm_script import Asked, Reply

CARRIERS = ("They spoke of the {} again.", "I read about a {} today.", "There was a {} here.", "Tell me of the {}.")
TEXTS = 6
"""Most of a concept that is tried; of three concepts four each, for twelve are run at once."""
HELD = 0.15
"""Least share of a concept's texts that activate."""
WIDE = 0.6
"""From this share on the wider of two concepts is kept."""
HITS = 3
"""Fewest tokens of the list that make a label without a test."""
TRIED_FROM = 2
"""Fewest that make one worth testing."""
P = 0.05
"""Largest p-value of a list that is read."""

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_LIST = re.compile(r"^- E\d+, vocabulary.*?p (?P<p>[\d.]+) of \d+: [^:]*: (?P<tokens>.*)$", re.MULTILINE)
_TESTED = re.compile(r'"(?P<name>[a-z ]+)":? (?P<k>\d+) of (?P<n>\d+) (?:texts )?that should activate')
_NEAR = re.compile(r"^- E\d+\.\d+, feature \d+, cosine [\d.]+: this one (?P<own>.*?); both ", re.MULTILINE)
_LAST = "This is the last round"


@dataclass(frozen=True)
class Reading:
    """A prompt's list, and what was tried so far."""

    words: tuple[str, ...]
    p_value: float
    tried: Mapping[str, float]
    """Share of each concept's texts that activate."""
    own: tuple[str, ...] | None
    """Tokens that tell the feature from its nearest one; None before it was asked for."""


def script(asked: Asked) -> Reply:
    """Answers one question of a loop."""
    proposal = answer(asked.user, asked.feature or 0, "`test` what you think" in asked.system)
    return Reply(proposal.model_dump_json(exclude_defaults=True))


def answer(prompt: str, feature: int, may_test: bool) -> Proposal:
    """Labels, experiments or abstains, by what the prompt says."""
    read, last = _read(prompt), _LAST in prompt
    if read.tried:
        return _after_tests(read, last)
    if read.p_value > P:
        return Proposal(action="abstain", reason="The list is like those of random directions.")
    found = [concept for concept, n in hypotheses(read.words) if n >= TRIED_FROM]
    if may_test and not last and found:
        n = min(TEXTS, TESTS_OF_ALL // len(found))
        tests = [
            TextTest(text=text, expected=True, hypothesis=concept)
            for concept in found
            for text in texts(concept, feature, read.words, n)
        ]
        return Proposal(action="test", tests=tuple(tests), reason="To see which of these it is.")
    named = [concept for concept, n in hypotheses(read.words) if n >= HITS]
    named = [one for one in named if not any(_related(one, other) for other in named[: named.index(one)])]
    return _label(named, 0.6) if named else Proposal(action="abstain", reason="No concept has enough of the list.")


@cache
def hypotheses(words: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Returns up to three concepts with their tokens of a list: the best, what it is a kind of, and the rest's best."""
    world = load_world()
    (best, n), covered = _best(world, words)
    if not n:
        return ()
    found = [(best, n)]
    parent = world.concepts[best].parent
    if parent is not None:
        found.append((parent, sum(word in members(parent) for word in words)))
    (other, m), _ = _best(world, tuple(word for word in words if word not in covered))
    return (*found, *([(other, m)] if m and other not in dict(found) else []))


@cache
def members(concept: str) -> frozenset[str]:
    """The concept's words, those of its kinds and its names among them."""
    world = load_world()
    return frozenset({sense.word for sense in world.members[concept]} | {*world.concepts[concept].names})


def fresh(concept: str, feature: int, listed: Sequence[str]) -> list[str]:
    """The concept's words that do not stand in the list, in an order of the feature's own."""
    words = sorted({sense.word for sense in load_world().members[concept]}.difference(listed))
    random.Random(f"{feature} {concept}").shuffle(words)
    return words


def texts(concept: str, feature: int, listed: Sequence[str], n: int) -> Iterator[str]:
    """Yields sentences with the first n fresh words."""
    for place, word in enumerate(fresh(concept, feature, listed)[:n]):
        yield CARRIERS[place % len(CARRIERS)].format(word)


def listed_words(prompt: str) -> tuple[str, ...]:
    """The words of the vocabulary list of a first prompt."""
    return _read(prompt).words


def _after_tests(read: Reading, last: bool) -> Proposal:
    held = {concept: share for concept, share in read.tried.items() if share >= HELD}
    kept = [c for c in held if not any(_under(c, o) and held[o] >= WIDE for o in held)]
    kept = [c for c in kept if not any(_under(o, c) and held[c] < WIDE for o in kept)]
    if not kept:
        return Proposal(action="abstain", reason="No concept that was tried activates it.")
    wide = [c for c in kept if any(concept.parent == c for concept in load_world().concepts.values())]
    if wide and read.own is None and not last:
        return Proposal(action="compare", label=kept[0], reason="To see which kind it is.")
    narrowed = [_kind(c, read.own or ()) for c in kept]
    return _label([*dict.fromkeys(narrowed)], 0.9)


def _kind(concept: str, own: Sequence[str]) -> str:
    """The kind of a concept that most of the tokens belong to, the concept itself where no kind has most."""
    kinds = [c.name for c in load_world().concepts.values() if c.parent == concept]
    best = max(kinds, key=lambda kind: sum(word in members(kind) for word in own), default=concept)
    return best if 2 * sum(word in members(best) for word in own) > len(own) else concept


def _label(concepts: Sequence[str], confidence: float) -> Proposal:
    senses = tuple(Sense(text=concept) for concept in concepts) if len(concepts) > 1 else ()
    return Proposal(action="label", label="; ".join(concepts), senses=senses, confidence=confidence)


def _best(world: World, words: tuple[str, ...]) -> tuple[tuple[str, int], frozenset[str]]:
    """The concept with most of the words, the smallest of equals, and which words."""
    ranked = sorted(world.concepts, key=lambda c: (-sum(word in members(c) for word in words), len(members(c)), c))
    covered = frozenset(word for word in words if word in members(ranked[0]))
    return (ranked[0], len(covered)), covered


def _under(one: str, other: str) -> bool:
    return one != other and other in load_world().lineage(one)


def _related(one: str, other: str) -> bool:
    return one == other or _under(one, other) or _under(other, one)


def _read(prompt: str) -> Reading:
    listed = _LIST.search(prompt)
    tokens = _words(listed["tokens"]) if listed else ()
    tried = {m["name"]: int(m["k"]) / int(m["n"]) for m in _TESTED.finditer(prompt) if int(m["n"])}
    near = _NEAR.search(prompt)
    return Reading(tokens, float(listed["p"]) if listed else 1.0, tried, None if near is None else _words(near["own"]))


def _words(quoted: str) -> tuple[str, ...]:
    return tuple(token.strip().lower() for token in _QUOTED.findall(quoted))
