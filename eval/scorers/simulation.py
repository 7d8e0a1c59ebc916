"""Simulation: can one tell by the label alone how strongly the feature activates on each token?

After Bills et al. 2023, "Language models can explain neurons in language models", all tokens of a text at once. The
predicted activations are the numbers the judge writes: their expectation over log-probabilities, as in the original,
would need what most providers no longer give.

Differs from the original in one more thing: answers that say one and the same number of every token of every text score
0, where their correlation is undefined, and count in every mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from agent.evidence.digest import escaped
from agent.evidence.shown_examples import TOKEN_CHARS, cut, key_of
from eval.metrics import Estimate, correlation
from eval.scorers.base import (
    AGAIN,
    Judge,
    Need,
    Score,
    ScoredItem,
    ScoringTask,
    drawn,
    lacking,
    scored,
    together,
    unscored,
)
from probes.examples import Example
from probes.settings import Value

METRIC = "correlation"
TEXTS = 10
"""Most texts on which the feature activates, and most on which it does not: each costs a question of its own."""


class PredictedActivations(Value):
    """A number for each token of the text, in their order."""

    activations: tuple[Annotated[float, Field(ge=0, le=10)], ...]


@dataclass(frozen=True)
class Simulation:
    """Pearson's correlation of predicted with true activations over all tokens of all texts."""

    name: ClassVar[str] = "simulation"
    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    template: ClassVar[str] = "simulation"
    reads_label: ClassVar[bool] = True

    judge: Judge

    async def score(self, task: ScoringTask) -> Score:
        """A text whose answer has a number too few or too many is asked about once more, then left unscored."""
        if reason := lacking(task):
            return unscored(self.name, METRIC, reason)
        rng = np.random.default_rng(task.seed)
        chosen = [cut(e) for source in (task.activating, task.negatives) for e in drawn(source, TEXTS, rng)]
        items = await together(self._simulated(task, example, number) for number, example in enumerate(chosen))
        return self.of_items(items, task)

    def of_items(self, items: Sequence[ScoredItem], task: ScoringTask) -> Score:
        """Over the texts that are among them."""
        return _score(items, task.seed)

    async def _simulated(self, task: ScoringTask, example: Example, number: int) -> ScoredItem:
        tokens = [escaped(token, TOKEN_CHARS) for token in example.tokens]
        note = ""
        for item in (number, number + AGAIN):
            reply = await self.judge.ask(task.question(self.name, item, PredictedActivations, tokens=tokens, note=note))
            if reply.value is None:
                return _item(example, None, reply.reason)
            found = reply.value.activations
            if len(found) == len(tokens):
                return _item(example, found)
            note = f"the answer has {len(found)} numbers for {len(tokens)} tokens"
        return _item(example, None, note)


def _item(example: Example, prediction: tuple[float, ...] | None, reason: str | None = None) -> ScoredItem:
    return ScoredItem(key_of(example), example.text, example.activations, prediction, reason)


def _score(items: Sequence[ScoredItem], seed: int) -> Score:
    answered = [item for item in items if item.prediction is not None]
    truths, predictions = [_numbers(item.truth) for item in answered], [_numbers(item.prediction) for item in answered]
    estimate = correlation(truths, predictions, seed)
    if estimate.value is None and _varies(truths) and not _varies(predictions):
        estimate = _flat(estimate)
    return scored(Simulation.name, METRIC, estimate, items, {"tokens": float(sum(map(len, truths)))})


def _numbers(activations: object) -> tuple[float, ...]:
    assert isinstance(activations, tuple)
    return activations


def _flat(estimate: Estimate) -> Estimate:
    """Usable answers that all say the same number explain nothing, and that was measured: 0, without an interval. Left
    out, the labels that fit no text at all would be missing from every mean."""
    return replace(estimate, value=0.0, reason=None)


def _varies(texts: Sequence[tuple[float, ...]]) -> bool:
    return len({value for text in texts for value in text}) > 1
