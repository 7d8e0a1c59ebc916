"""Discrimination: to which of the feature and its nearest neighbours does the label belong?

Ours. Detection cannot see that two features share a label: each finds its own texts among random ones. Here the judge
gets one text of the feature and one of each of its neighbours, active tokens marked, and must choose the one that the
label describes. The choice is forced: where the label fits a neighbour just as well, it can only be guessed, while a
yes or no for each text would let the label shine against the other neighbours. Neighbours need texts, but no labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agent.evidence.shown_examples import active_places, cut, key_of, marked
from eval.metrics import proportion
from eval.scorers.base import Judge, Need, Score, ScoredItem, ScoringTask, drawn, scored, unscored
from eval.scorers.numbered import MissingAnswer, ask_in_batches
from probes.examples import Example
from probes.settings import Value

METRIC = "accuracy"
BATCH = 4
"""Choices in one question."""


class SetChoice(Value):
    """The judge's choice of the text of one set that the label describes best."""

    number: int
    """Of the set."""
    text: int
    """Its number within the set."""


class SetChoices(Value):
    """One for each set of the question."""

    answers: tuple[SetChoice, ...]


@dataclass(frozen=True)
class DiscriminationTrial:
    """A text of the feature among texts of its neighbours."""

    own: Example
    texts: tuple[str, ...]
    """As the judge sees them."""
    right: int
    """Number of the feature's own, from 1."""


@dataclass(frozen=True)
class Discrimination:
    """Share of right choices; `extra` has what guessing gives."""

    name: ClassVar[str] = "discrimination"
    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    template: ClassVar[str] = "discrimination"
    reads_label: ClassVar[bool] = True

    judge: Judge

    async def score(self, task: ScoringTask) -> Score:
        """Every activating text is chosen from once; texts of neighbours come again where they are fewer."""
        trials = list(_trials(task))
        if not task.activating:
            return unscored(self.name, METRIC, "no held-out activating example")
        if not trials:
            return unscored(
                self.name, METRIC, "no held-out text of any neighbour on which the feature does not activate"
            )

        async def ask(batch: Sequence[DiscriminationTrial], item: int) -> Sequence[SetChoice] | MissingAnswer:
            question = task.question(self.name, item, SetChoices, sets=[[*trial.texts] for trial in batch])
            reply = await self.judge.ask(question)
            return MissingAnswer(reply.reason or "no answer") if reply.value is None else reply.value.answers

        found = await ask_in_batches(trials, BATCH, ask)
        return self.of_items([_item(trial, choice) for trial, choice in zip(trials, found, strict=True)], task)

    def of_items(self, items: Sequence[ScoredItem], task: ScoringTask) -> Score:
        """Over the texts of the feature that are among them."""
        right = [item.prediction is True for item in items if item.prediction is not None]
        chance = 1 / (1 + len(_rivals(task)))
        return scored(self.name, METRIC, proportion(sum(right), len(right)), items, {"chance": chance})


def _rivals(task: ScoringTask) -> list[list[Example]]:
    """The texts of each neighbour that has some of its own."""
    own_texts = {example.text for example in task.activating}
    others = ([e for e in texts if e.text not in own_texts] for _, texts in sorted(task.neighbours.items()))
    return [texts for texts in others if texts]


def _trials(task: ScoringTask) -> Iterator[DiscriminationTrial]:
    # its own order for each feature: a judge that always says "the first" is not to be equally lucky with all of them
    rng = np.random.default_rng([task.seed, task.feature])
    rivals = [drawn(texts, len(texts), rng) for texts in _rivals(task)]
    if not rivals:
        return
    for number, own in enumerate(drawn(task.activating, len(task.activating), rng)):
        candidates = [cut(example) for example in (own, *(texts[number % len(texts)] for texts in rivals))]
        order = rng.permutation(len(candidates)).tolist()
        texts = tuple(marked(candidates[place], active_places(candidates[place])) for place in order)
        yield DiscriminationTrial(candidates[0], texts, right=order.index(0) + 1)


def _item(trial: DiscriminationTrial, choice: SetChoice | MissingAnswer) -> ScoredItem:
    key, text = key_of(trial.own), trial.own.text
    if isinstance(choice, MissingAnswer):
        return ScoredItem(key, text, True, None, choice.reason)
    if not 1 <= choice.text <= len(trial.texts):
        return ScoredItem(
            key, text, True, None, f"the answer chooses text {choice.text}, out of 1 to {len(trial.texts)}"
        )
    return ScoredItem(key, text, True, choice.text == trial.right)
