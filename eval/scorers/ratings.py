"""Ratings: how clearly does each of many texts hold what a label names? By a judge that sees no activation.

The scorers that compare the ratings with activations share the questions, so that the second of them asks nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from agent.evidence.shown_examples import cut, key_of, shown
from eval.scorers.base import Judge, Need, Score, ScoredItem, ScoringTask, drawn, lacking, unscored
from eval.scorers.numbered import MissingAnswer, ask_in_batches
from probes.examples import Example
from probes.settings import Value

TEMPLATE = "rating"
BATCH = 10
"""Texts in one question."""
NONE, CLEAR = 0, 2
"""Ratings that count; what lies between is left out, as neither a text of the concept nor one without it."""


class TextRating(Value):
    """The rating of one text."""

    number: int
    rating: Literal[0, 1, 2]


class TextRatings(Value):
    """One for each text of the question."""

    answers: tuple[TextRating, ...]


@dataclass(frozen=True)
class RatedScorer(ABC):
    """A scorer that rests on the ratings alone; its name, metric and figure are its own."""

    name: ClassVar[str]
    metric: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    template: ClassVar[str] = TEMPLATE
    reads_label: ClassVar[bool] = True

    judge: Judge

    async def score(self, task: ScoringTask) -> Score:
        """Has each example rated once, in random order among others."""
        if reason := lacking(task):
            return unscored(self.name, self.metric, reason)
        return self.of_items(await rated(self.judge, task), task)

    @abstractmethod
    def of_items(self, items: Sequence[ScoredItem], task: ScoringTask) -> Score:
        """Scores over the examples that are among them."""


async def rated(judge: Judge, task: ScoringTask) -> list[ScoredItem]:
    """Returns a task's examples with the largest activation of each and its rating, in random order.

    As many non-activating examples as activating ones, where there are as many.
    """
    rng = np.random.default_rng(task.seed)
    negatives = drawn(task.negatives, len(task.activating), rng)
    examples = [cut(e) for e in drawn([*task.activating, *negatives], len(task.activating) + len(negatives), rng)]

    async def ask(batch: Sequence[Example], item: int) -> Sequence[TextRating] | MissingAnswer:
        texts = [shown(example) for example in batch]
        reply = await judge.ask(task.question(TEMPLATE, item, TextRatings, texts=texts))
        return MissingAnswer(reply.reason or "no answer") if reply.value is None else reply.value.answers

    found = await ask_in_batches(examples, BATCH, ask)
    return [_item(example, rating) for example, rating in zip(examples, found, strict=True)]


def sides(items: Sequence[ScoredItem]) -> tuple[list[bool], list[float]]:
    """Returns of each text that is rated clear or not at all: True where it is clear, and its largest activation."""
    counted = [(item.prediction == CLEAR, item.truth) for item in items if item.prediction in (NONE, CLEAR)]
    return [clear for clear, _ in counted], [_peak(activations) for _, activations in counted]


def one_sided(items: Sequence[ScoredItem]) -> str | None:
    """Says why ratings tell no two kinds of texts apart; None where they do, or where nothing was rated."""
    clear, _ = sides(items)
    if not clear or len({*clear}) == 2:
        return None
    return f"the judge finds what the label names in {'each' if clear[0] else 'none'} of {len(clear)} texts"


def _item(example: Example, rating: TextRating | MissingAnswer) -> ScoredItem:
    truth = (float(example.peak),)
    if isinstance(rating, MissingAnswer):
        return ScoredItem(key_of(example), example.text, truth, None, rating.reason)
    return ScoredItem(key_of(example), example.text, truth, float(rating.rating))


def _peak(activations: bool | tuple[float, ...]) -> float:
    assert isinstance(activations, tuple)
    return max(activations)
