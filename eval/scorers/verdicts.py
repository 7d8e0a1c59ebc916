"""Does the label fit? A yes or no for each of many texts, and what these make of a label.

Below the scorers that ask so; knows none of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.metrics import balanced_accuracy, f1, precision, recall
from eval.scorers.base import Judge, Score, ScoredItem, ScoringTask, scored
from eval.scorers.numbered import MissingAnswer, ask_in_batches
from probes.settings import Value

BATCH = 10
"""Texts in one question."""
METRIC = "balanced_accuracy"


class TextVerdict(Value):
    """Of one text."""

    number: int
    fits: bool


class TextVerdicts(Value):
    """One for each text of the question."""

    answers: tuple[TextVerdict, ...]


@dataclass(frozen=True)
class CandidateText:
    """A text to be judged."""

    key: str
    text: str
    shown: str
    """As the judge sees it: escaped, perhaps with marks."""
    truth: bool


async def judged(judge: Judge, task: ScoringTask, scorer: str, candidates: Sequence[CandidateText]) -> list[ScoredItem]:
    """Asks the judge about each candidate, and returns the verdicts in their order."""

    async def ask(batch: Sequence[CandidateText], item: int) -> Sequence[TextVerdict] | MissingAnswer:
        texts = [candidate.shown for candidate in batch]
        reply = await judge.ask(task.question(scorer, item, TextVerdicts, texts=texts))
        return MissingAnswer(reply.reason or "no answer") if reply.value is None else reply.value.answers

    found = await ask_in_batches(candidates, BATCH, ask)
    return [_item(candidate, verdict) for candidate, verdict in zip(candidates, found, strict=True)]


def classified(scorer: str, items: Sequence[ScoredItem], extra: Mapping[str, float | None] | None = None) -> Score:
    """Balanced accuracy over the scored items; beside it F1, precision and recall."""
    answered = [item for item in items if item.prediction is not None]
    truth, said = [bool(item.truth) for item in answered], [bool(item.prediction) for item in answered]
    beside = {measure.__name__: measure(truth, said).value for measure in (f1, precision, recall)}
    return scored(scorer, METRIC, balanced_accuracy(truth, said), items, {**beside, **(extra or {})})


def _item(candidate: CandidateText, verdict: TextVerdict | MissingAnswer) -> ScoredItem:
    if isinstance(verdict, MissingAnswer):
        return ScoredItem(candidate.key, candidate.text, candidate.truth, None, verdict.reason)
    return ScoredItem(candidate.key, candidate.text, candidate.truth, verdict.fits)
