"""A world of a few concepts, features that activate exactly on one concept's words, and a judge that answers by rule.

The judge reads nothing but the rendered prompt, so that a prompt which leaves something out makes it fail. `answer` is
a pure function of that prompt: a server can use it as well.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any

import numpy as np
from pydantic import ValidationError

from eval.scorers import ScorerTools, make_scorers
from eval.scorers.base import JudgeReply, Question, Score, ScoringTask, V, Variant
from probes.examples import Example, ExampleKind
from prompts import render

WORLD: dict[str, tuple[str, ...]] = {
    "dog": ("dog", "puppy", "hound", "terrier"),
    "fruit": ("apple", "pear", "plum", "cherry"),
    "storm": ("storm", "gale", "thunder", "blizzard"),
    "tool": ("hammer", "saw", "chisel", "wrench"),
    "river": ("river", "brook", "stream", "creek"),
    "colour": ("red", "green", "purple", "yellow"),
}
"""Words by concept; feature number n activates on the words of the nth."""
CONCEPTS = (*WORLD,)
PEAK = 5.0
MEANINGS: dict[str, frozenset[str]] = {
    **{concept: frozenset(words) for concept, words in WORLD.items()},
    "some dogs, some fruit": frozenset(WORLD["dog"][:2] + WORLD["fruit"][:2]),
}
"""What the judge takes a label to mean; any other label means its own words."""

_FILLER = ("the", "a", "one", "that", "we", "they", "met", "near", "was", "here", "behind", "house", "old", "and")


def words_of(label: str) -> frozenset[str]:
    return MEANINGS.get(label, frozenset(re.findall(r"[a-z]+", label)))


def example(feature: int, kind: ExampleKind, number: int, words: Sequence[str], rng: np.random.Generator) -> Example:
    """A text of twelve tokens with these words among them, and the feature's activations."""
    tokens = [f" {word}" for word in rng.choice(_FILLER, 12 - len(words))]
    for word in words:
        tokens.insert(int(rng.integers(len(tokens) + 1)), f" {word}")
    activates = WORLD[CONCEPTS[feature]]
    activations = tuple(PEAK if token.strip() in activates else 0.0 for token in tokens)
    return Example(feature, kind, f"{kind} {feature}/{number}", tuple(tokens), activations)


def texts(feature: int, kind: ExampleKind, n: int, seed: int = 0) -> list[Example]:
    """n texts with a word of the feature's concept, or of none of its words, beside one word of another concept."""
    rng = np.random.default_rng([seed, feature, len(kind)])
    others = [word for concept in CONCEPTS if concept != CONCEPTS[feature] for word in WORLD[concept]]
    own = WORLD[CONCEPTS[feature]]
    made = []
    for number in range(n):
        words = [str(rng.choice(others))] + ([own[number % len(own)]] if kind == "activating" else [])
        made.append(example(feature, kind, number, words, rng))
    return made


def neighbour_texts(feature: int, n: int, other: int) -> list[Example]:
    """Texts on which `feature` activates and `other` does not."""
    avoided = {f" {word}" for word in WORLD[CONCEPTS[other]]}
    return [e for e in texts(feature, "activating", 3 * n) if not avoided & {*e.tokens}][:n]


def task(label: str, feature: int = 0, n: int = 40, variant: Variant = "label", **changes: Any) -> ScoringTask:
    """A label to be scored against the texts of a feature; its neighbours are the next three."""
    negatives = texts(feature, "random", n // 2) + texts(feature, "neighbour", n - n // 2)
    made = ScoringTask(
        feature=feature,
        label=label,
        variant=variant,
        activating=texts(feature, "activating", n),
        negatives=negatives,
        neighbours={other: neighbour_texts(other, n, feature) for other in range(feature + 1, feature + 4)},
        matched={other: texts(other, "activating", 4) for other in range(len(CONCEPTS)) if other != feature},
        maximum=PEAK,
    )
    return replace(made, **changes)


def answer(prompt: str) -> dict[str, Any]:
    """Returns what the rules answer to a rendered question."""
    kind = re.match(r"# (\w+)", prompt)
    assert kind is not None
    label = re.search(r'^Label: "(.*)"$', prompt, re.MULTILINE)
    return _RULES[kind[1]](prompt, words_of(label[1]) if label else frozenset())


def numbered(prompt: str) -> list[str]:
    """The texts of a question, in their order."""
    return re.findall(r'^\d+\. "(.*)"$', prompt, re.MULTILINE)


def marks(text: str) -> list[str]:
    """The marked tokens of a text."""
    return [token.strip() for token in re.findall("«(.*?)»", text)]


def _detection(prompt: str, words: frozenset[str]) -> dict[str, Any]:
    return _verdicts(not words.isdisjoint(re.findall(r"\w+", text)) for text in numbered(prompt))


def _fuzzing(prompt: str, words: frozenset[str]) -> dict[str, Any]:
    return _verdicts(words.issuperset(marks(text)) for text in numbered(prompt))


def _verdicts(fitting: Iterator[bool]) -> dict[str, Any]:
    return {"answers": [{"number": number, "fits": fits} for number, fits in enumerate(fitting, start=1)]}


def _simulation(prompt: str, words: frozenset[str]) -> dict[str, Any]:
    return {"activations": [10 if token.strip() in words else 0 for token in numbered(prompt)]}


def _clarity(prompt: str, words: frozenset[str]) -> dict[str, Any]:
    n = re.search(r"`activating`: (\d+) texts", prompt)
    assert n is not None
    used = islice(cycle(sorted(words)), int(n[1]))
    activating = [f"they met the {word} behind house {number}" for number, word in enumerate(used)]
    return {
        "activating": activating,
        "non_activating": [f"nothing was near house {number}" for number in range(int(n[1]))],
    }


def _discrimination(prompt: str, words: frozenset[str]) -> dict[str, Any]:
    """The first text with the most fitting marks, so the first of all where none fits."""
    sets = [numbered(part) for part in re.split(r"^Set \d+$", prompt, flags=re.MULTILINE)[1:]]
    fitting = [[sum(mark in words for mark in marks(text)) for text in choices] for choices in sets]
    chosen = [counts.index(max(counts)) + 1 for counts in fitting]
    return {"answers": [{"number": number, "text": text} for number, text in enumerate(chosen, start=1)]}


def _rating(prompt: str, words: frozenset[str]) -> dict[str, Any]:
    """Clear where one of the words stands in the text, partly where a word begins like one of them."""
    found = [{*re.findall(r"\w+", text)} for text in numbered(prompt)]
    ratings = [2 if words & text else 1 if any(w[:5] == o[:5] for w in words for o in text) else 0 for text in found]
    return {"answers": [{"number": number, "rating": rating} for number, rating in enumerate(ratings, start=1)]}


def _intruder(prompt: str, _words: frozenset[str]) -> dict[str, Any]:
    """The one text whose marks are of another concept than most; the first where no concept has most of the texts."""
    found = [_concept_of(marks(text)) for text in numbered(prompt)]
    common = max(found, key=found.count)
    odd = [place for place, concept in enumerate(found, start=1) if concept != common]
    return {"text": odd[0] if len(odd) == 1 else 1}


def _concept_of(words: Sequence[str]) -> str:
    return next((concept for concept, known in WORLD.items() if {*words} <= {*known}), "")


def _output(prompt: str, words: frozenset[str]) -> dict[str, Any]:
    """The first list with the most fitting words, so the first of all where none fits."""
    lists = [[token.strip() for token in tokens.split('", "')] for tokens in numbered(prompt)]
    fitting = [sum(token in words for token in tokens) for tokens in lists]
    return {"list": fitting.index(max(fitting)) + 1}


def _one(prompt: str, _words: frozenset[str]) -> dict[str, Any]:
    found = [token.strip() for token in re.findall(r'^- "(.*)" \d+$', prompt, re.MULTILINE)]
    named = [concept for concept, words in WORLD.items() if {*found} <= {*words}]
    return {"label": named[0] if named else found[0]}


_RULES: Mapping[str, Callable[[str, frozenset[str]], dict[str, Any]]] = {
    "Detection": _detection,
    "Fuzzing": _fuzzing,
    "Simulation": _simulation,
    "Clarity": _clarity,
    "Discrimination": _discrimination,
    "Output": _output,
    "Rating": _rating,
    "Intruder": _intruder,
    "One": _one,
}

Twist = Callable[[Question[Any], dict[str, Any]], dict[str, Any] | str]
"""What becomes of a right answer: another one, or the reason why there is none."""


@dataclass
class RuleJudge:
    """Answers by rule, twisted if so wished; remembers the questions and prompts."""

    twist: Twist = lambda _question, right: right
    questions: list[Question[Any]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    async def ask(self, question: Question[V]) -> JudgeReply[V]:
        prompt = render(question.template, question.context).text
        self.questions.append(question)
        self.prompts.append(prompt)
        twisted = self.twist(question, answer(prompt))
        if isinstance(twisted, str):
            return JudgeReply(None, twisted)
        try:
            return JudgeReply(question.schema.model_validate(twisted))
        except ValidationError:
            return JudgeReply(None, "the answer does not fit the schema")


class PlantedRunner:
    """Activates on the words of a feature's concept; a text without a word has no activation at all."""

    async def peaks(self, feature: int, texts: Sequence[str]) -> Sequence[float]:
        return [self._peak({*WORLD[CONCEPTS[feature]]}, {*re.findall(r"\w+", text)}) for text in texts]

    async def raised(self, feature: int, maximum: float, n_others: int, seed: int) -> Sequence[Sequence[str]]:
        """Words of the feature's concept, then of the next three; in this world what activates is what is written."""
        assert maximum == PEAK
        rng = np.random.default_rng([seed, feature])
        others = [(feature + step) % len(CONCEPTS) for step in rng.integers(1, 4, n_others)]
        return [[f" {word}" for word in WORLD[CONCEPTS[one]]] for one in (feature, *others)]

    def _peak(self, activates: set[str], words: set[str]) -> float:
        return float("nan") if not words else PEAK * bool(activates & words)


class PlantedEmbedder:
    """A dimension for every word of the world; a label counts as the words it means."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vocabulary = [word for words in WORLD.values() for word in words]
        found = [MEANINGS.get(text) or {*re.findall(r"\w+", text)} for text in texts]
        return np.array([[word in words for word in vocabulary] for words in found], dtype=np.float32)


def score(name: str, what: ScoringTask, judge: RuleJudge | None = None) -> Score:
    """Returns what the scorer of this name makes of it in this world."""
    tools = ScorerTools(judge or RuleJudge(), PlantedRunner(), PlantedEmbedder())
    return asyncio.run(make_scorers([name], tools)[0].score(what))
