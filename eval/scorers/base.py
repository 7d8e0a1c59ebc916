"""The protocol that scorers share: a task goes in, a score comes out, both always values.

A scorer asks a judge, runs texts on the subject or embeds them; who does that for it is handed to it. An answer that
cannot be used leaves its items unscored, with the reason; it never counts as a "no".
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
from jaxtyping import Float

from agent.evidence.digest import escaped
from agent.schema import LABEL_CHARS
from eval.metrics import Estimate
from probes.examples import Example
from probes.settings import Value
from prompts import render

Variant = Literal[
    "label",
    "first",
    "before",
    "shuffled",
    "tokens",
    "one_shot",
    "baseline",
    "known",
    "feature",
    "unlabelled",
    "mixed",
]
"""The kinds of things that are scored. `label`: the feature's own label; `first`: the first label that a run proposed;
`before`: the label that a weaker explainer gave before a stronger one was asked;
`shuffled`: another feature's label; `tokens`: the feature's top tokens; `one_shot`: a label made from examples in one
call; `baseline`: a label that came with imported examples; `known`: the name of the feature's known concept. Scorers
that read no label score `feature` (one that has a label), `unlabelled` (one that has none) or `mixed` (examples of
several features)."""

Need = Literal["judge", "runner", "embedder"]
"""What a scorer cannot do without."""

AGAIN = 10_000
"""Added to the item of a question that is asked once more, so that it has a key of its own."""
BECAUSE = "most often because "
"""In a score's reason, before that of its unscored texts."""

V = TypeVar("V", bound=Value)
R = TypeVar("R")


@dataclass(frozen=True)
class Question(Generic[V]):
    """A question to a judge. Purpose, feature and item are its key within a run."""

    purpose: str
    """The scorer, and the variant behind a slash where it is a control."""
    feature: int
    item: int
    template: str
    context: Mapping[str, Any]
    """JSON-safe, what is untrusted in it escaped."""
    schema: type[V]
    """What the answer is parsed into."""


@dataclass(frozen=True)
class JudgeReply(Generic[V]):
    """`value` is None exactly where `reason` says why."""

    value: V | None
    reason: str | None = None


class Judge(Protocol):
    """A language model that answers questions."""

    async def ask(self, question: Question[V]) -> JudgeReply[V]:
        """Its answer; None with a reason where there was no usable one after all retries. Raises what ends a run."""
        ...


class Runner(Protocol):
    """The subject, running texts."""

    async def peaks(self, feature: int, texts: Sequence[str]) -> Sequence[float]:
        """The feature's highest activation on each text, special tokens left out; NaN for a text without a token."""
        ...

    async def raised(self, feature: int, maximum: float, n_others: int, seed: int) -> Sequence[Sequence[str]]:
        """Tokens that the feature raises, clamped up by its maximum activation; then those of random other features.

        Nothing for a feature that writes nothing.
        """
        ...


class Embedder(Protocol):
    """The protocol of text embedders."""

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """One vector for each text, zero for a text with nothing in it. Called from any thread."""
        ...


@dataclass(frozen=True)
class ScoringTask:
    """A label to be scored, and the examples to score it on.

    A label is judged without its explanation, since most of its rivals (top tokens, the name of a concept, a baseline)
    have none: with an explanation it could win by length alone.
    """

    feature: int
    label: str
    variant: Variant
    activating: Sequence[Example]
    negatives: Sequence[Example]
    """Texts on which the feature does not activate."""
    neighbours: Mapping[int, Sequence[Example]] = field(default_factory=dict)
    """Texts on which each of the nearest features activates, with its activations, and on which `feature` does not."""
    maximum: float | None = None
    """The highest activation known of the feature."""
    matched: Mapping[int, Sequence[Example]] = field(default_factory=dict)
    """Activating examples of other features that activate about as often, its neighbours left out."""
    seed: int = 0

    def question(self, template: str, item: int, schema: type[V], **context: Any) -> Question[V]:
        """A question about this label, its purpose named like its template."""
        label = escaped(self.label, LABEL_CHARS)
        return Question(self._purpose(template), self.feature, item, template, {"label": label, **context}, schema)

    def question_without_label(self, template: str, item: int, schema: type[V], **context: Any) -> Question[V]:
        """A question about the feature's examples alone, whatever its label."""
        return Question(self._purpose(template), self.feature, item, template, context, schema)

    def _purpose(self, template: str) -> str:
        return template if self.variant in ("label", "feature", "unlabelled") else f"{template}/{self.variant}"


@dataclass(frozen=True)
class ScoredItem:
    """The outcome for one text."""

    key: str
    text: str
    truth: bool | tuple[float, ...]
    """Whether the feature activates on it, or its activations."""
    prediction: bool | float | tuple[float, ...] | None
    """None exactly where `reason` says why it is unscored."""
    reason: str | None = None


@dataclass(frozen=True)
class Score:
    """A scorer's result. `value` is None exactly if `reason` says why."""

    scorer: str
    metric: str
    value: float | None
    reason: str | None
    low: float | None
    high: float | None
    n: int
    """Scored items that the value rests on."""
    extra: Mapping[str, float | None] = field(default_factory=dict)
    """Further figures by name."""
    items: Sequence[ScoredItem] = ()


class Scorer(Protocol):
    """Measures how well a label fits a feature."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]]
    template: ClassVar[str]
    """The template of its questions; empty where it asks none."""
    reads_label: ClassVar[bool]
    """False for one that scores the feature's examples alone, so that a feature without a label has a score too."""

    async def score(self, task: ScoringTask) -> Score:
        """The score; a fault of single answers is in it. Raises what ends a run."""
        ...

    def of_items(self, items: Sequence[ScoredItem], task: ScoringTask) -> Score:
        """The score that some of the items found for a task give by themselves; nothing is asked again."""
        ...


def needs_texts(scorer: Scorer | type[Scorer]) -> bool:
    """Tells whether the scorer reads examples of a corpus; those that run texts on the subject, or the subject, need
    none.
    """
    return "runner" not in scorer.needs


def scored(
    scorer: str,
    metric: str,
    estimate: Estimate,
    items: Sequence[ScoredItem],
    extra: Mapping[str, float | None] | None = None,
) -> Score:
    """The score with this estimate as its value; where there is none, the reason tells of unscored items too."""
    e = estimate
    reason = None if e.value is not None else "; ".join(filter(None, [e.reason, _faults(items)]))
    return Score(scorer, metric, e.value, reason, e.low, e.high, e.n, extra or {}, items)


def unscored(scorer: str, metric: str, reason: str) -> Score:
    """No score, because there was nothing to ask about."""
    return Score(scorer, metric, None, reason, None, None, 0)


def lacking(task: ScoringTask) -> str | None:
    """Says why a task cannot tell activating from non-activating texts."""
    if not task.activating:
        return "no held-out activating example"
    return None if task.negatives else "no non-activating example"


def drawn(examples: Sequence[Example], k: int, rng: np.random.Generator) -> list[Example]:
    """k of the examples in random order; all where there are no more."""
    return [examples[place] for place in rng.permutation(len(examples))[:k]]


def system_prompt() -> str:
    """Returns the system prompt of every question."""
    return render("judge", {}).text


async def together(calls: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """The results in the calls' order, all under way at once; an error is raised when all have ended.

    What is in flight is paid for, so that no other call's error may cut it off.
    """
    found = await asyncio.gather(*calls, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return [result for result in found if not isinstance(result, BaseException)]


def _faults(items: Sequence[ScoredItem]) -> str:
    reasons = Counter(item.reason for item in items if item.reason is not None)
    if not reasons:
        return ""
    return f"{reasons.total()} of {len(items)} texts unscored, {BECAUSE}{reasons.most_common(1)[0][0]}"
