"""Intruder: does anything unite a feature's own examples? A judge that sees no label names the one that is not its own.

After Paulo and Belrose 2025, "Evaluating SAE interpretability without explanations" (arXiv 2507.08473). A choice shows
four activating examples of the feature and one of another that activates about as often, marked alike: a rare feature's
examples look unlike a frequent one's, which is no concept. Needs no label, so that it tells whether an abstention was
right: where no judge finds the intruder, there was nothing to name. The control draws all five from different features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agent.evidence.shown_examples import active_places, cut, marked
from eval.metrics import proportion
from eval.scorers.base import Judge, Need, Score, ScoredItem, ScoringTask, scored, together, unscored
from probes.examples import Example
from probes.settings import Value

METRIC = "accuracy"
OWN = 4
"""Examples of the feature in one choice."""
TRIALS = 10
"""Most choices; no more than half as many as there are examples, or the same ones would be asked about again."""


class IntruderChoice(Value):
    """The judge's choice of the text that does not belong."""

    text: int
    """Its number."""


@dataclass(frozen=True)
class IntruderTrial:
    """Examples of one feature with one of another among them."""

    texts: tuple[str, ...]
    """As the judge sees them."""
    intruder: int
    """Its number, from 1."""
    text: str
    """The intruder's, unmarked."""

    def item(self, number: int, chosen: int | None, reason: str | None = None) -> ScoredItem:
        """Returns the outcome of the choice."""
        prediction = None if chosen is None else chosen == self.intruder
        return ScoredItem(f"trial {number}", self.text, True, prediction, reason)


@dataclass(frozen=True)
class Intruder:
    """Share of choices in which the judge names the intruder; `extra` has what guessing gives."""

    name: ClassVar[str] = "intruder"
    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    template: ClassVar[str] = "intruder"
    reads_label: ClassVar[bool] = False

    judge: Judge

    async def score(self, task: ScoringTask) -> Score:
        """One question for each choice: within one question, what the sets share would be the feature's."""
        if reason := _lacking(task):
            return unscored(self.name, METRIC, reason)
        trials = enumerate(_mixed(task) if task.variant == "mixed" else _trials(task), start=1)
        return self.of_items(await together(self._chosen(task, trial, number) for number, trial in trials), task)

    def of_items(self, items: Sequence[ScoredItem], _task: ScoringTask) -> Score:
        """Over the choices that are among them."""
        right = [item.prediction is True for item in items if item.prediction is not None]
        return scored(self.name, METRIC, proportion(sum(right), len(right)), items, {"chance": 1 / (OWN + 1)})

    async def _chosen(self, task: ScoringTask, trial: IntruderTrial, number: int) -> ScoredItem:
        question = task.question_without_label(self.template, number, IntruderChoice, texts=[*trial.texts])
        reply = await self.judge.ask(question)
        if reply.value is None:
            return trial.item(number, None, reply.reason or "no answer")
        if not 1 <= reply.value.text <= len(trial.texts):
            reason = f"the answer chooses text {reply.value.text}, out of 1 to {len(trial.texts)}"
            return trial.item(number, None, reason)
        return trial.item(number, reply.value.text)


def _lacking(task: ScoringTask) -> str | None:
    if not task.activating:
        return "no held-out activating example"
    if len(task.activating) < OWN:
        return f"fewer than {OWN} held-out activating examples"
    others = len(_others(task))
    if task.variant == "mixed" and others <= OWN:
        return f"examples of fewer than {OWN + 1} other features about as often active"
    return None if others else "no examples of another feature that activates about as often"


def _others(task: ScoringTask) -> list[Sequence[Example]]:
    """The examples of each other feature, less the texts that are the feature's own."""
    own = {example.text for example in task.activating}
    left = ([e for e in examples if e.text not in own] for _, examples in sorted(task.matched.items()))
    return [examples for examples in left if examples]


def _n_trials(task: ScoringTask) -> int:
    return min(TRIALS, len(task.activating) // 2)


def _trials(task: ScoringTask) -> Iterator[IntruderTrial]:
    """Every choice has an intruder of another feature, as far as there are others."""
    rng = np.random.default_rng([task.seed, task.feature])
    others = _others(task)
    order = rng.permutation(len(others))
    for number in range(_n_trials(task)):
        own = [task.activating[place] for place in rng.permutation(len(task.activating))[:OWN]]
        yield _trial(own, _any(others[order[number % len(others)]], rng), rng)


def _mixed(task: ScoringTask) -> Iterator[IntruderTrial]:
    """Choices in which all examples are of different features, none of them this one."""
    rng = np.random.default_rng([task.seed, task.feature])
    others = _others(task)
    for _ in range(_n_trials(task)):
        intruder, *own = (_any(others[place], rng) for place in rng.permutation(len(others))[: OWN + 1])
        yield _trial(own, intruder, rng)


def _trial(own: Sequence[Example], intruder: Example, rng: np.random.Generator) -> IntruderTrial:
    examples = [cut(example) for example in (intruder, *own)]
    order = rng.permutation(len(examples)).tolist()
    texts = tuple(marked(examples[place], active_places(examples[place])) for place in order)
    return IntruderTrial(texts, order.index(0) + 1, examples[0].text)


def _any(examples: Sequence[Example], rng: np.random.Generator) -> Example:
    return examples[int(rng.integers(len(examples)))]
