"""Output: with the feature clamped up, do the tokens that become more probable fit the label?

Output success of Gur-Arieh et al. 2025 (arXiv 2501.08319): who has the label must tell what the feature does to the
model from what two random features do. A judge chooses among three lists, each time beside other random features; or,
where there is no judge, the list is chosen whose words are most similar to the label. Chance is a third either way.
All other scorers ask when a feature activates; this one asks what it does, which may be another thing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from agent.evidence.digest import escaped
from agent.evidence.shown_examples import TOKEN_CHARS
from eval.metrics import proportion
from eval.scorers.base import Embedder, Judge, Need, Runner, Score, ScoredItem, ScoringTask, scored, together, unscored
from probes.settings import Value

METRIC = "accuracy"
TRIALS = 8
"""Choices, each with random features of its own."""
RIVALS = 2
"""Random features in one choice."""


class ListChoice(Value):
    """The judge's choice of the list that the label describes best."""

    list: int
    """Its number."""


@dataclass(frozen=True)
class OutputTrial:
    """The feature's list among those of random features."""

    lists: Sequence[Sequence[str]]
    right: int
    """Place of the feature's own."""

    def item(self, number: int, chosen: int | None, reason: str | None = None) -> ScoredItem:
        """Returns the outcome; `chosen` is a place."""
        prediction = None if chosen is None else chosen == self.right
        return ScoredItem(f"trial {number}", _words(self.lists[self.right]), True, prediction, reason)


@dataclass(frozen=True)
class OutputSuccess:
    """Share of choices in which a judge takes the feature's own list."""

    name: ClassVar[str] = "output"
    needs: ClassVar[frozenset[Need]] = frozenset({"judge", "runner"})
    template: ClassVar[str] = "output"
    reads_label: ClassVar[bool] = True

    judge: Judge
    runner: Runner

    async def score(self, task: ScoringTask) -> Score:
        """One question for each choice: within one question, the list that comes again would be the feature's own."""
        trials = await _trials(task, self.runner)
        if isinstance(trials, str):
            return unscored(self.name, METRIC, trials)
        items = await together(self._chosen(task, trial, number) for number, trial in enumerate(trials, start=1))
        return self.of_items(items, task)

    def of_items(self, items: Sequence[ScoredItem], _task: ScoringTask) -> Score:
        """Over the choices that are among them."""
        return _score(self.name, items)

    async def _chosen(self, task: ScoringTask, trial: OutputTrial, number: int) -> ScoredItem:
        lists = [[escaped(token, TOKEN_CHARS) for token in tokens] for tokens in trial.lists]
        reply = await self.judge.ask(task.question(self.name, number, ListChoice, lists=lists))
        if reply.value is None:
            return trial.item(number, None, reply.reason or "no answer")
        if not 1 <= reply.value.list <= len(lists):
            reason = f"the answer chooses list {reply.value.list}, out of 1 to {len(lists)}"
            return trial.item(number, None, reason)
        return trial.item(number, reply.value.list - 1)


@dataclass(frozen=True)
class OutputSimilarity:
    """Share of choices in which the feature's own list is the most similar to the label, by the cosine."""

    name: ClassVar[str] = "output_similarity"
    needs: ClassVar[frozenset[Need]] = frozenset({"embedder", "runner"})
    template: ClassVar[str] = ""
    reads_label: ClassVar[bool] = True

    embedder: Embedder
    runner: Runner

    async def score(self, task: ScoringTask) -> Score:
        """The first of equals is chosen, in the order in which a judge would see them; that costs and gains nothing."""
        trials = await _trials(task, self.runner)
        if isinstance(trials, str):
            return unscored(self.name, METRIC, trials)
        lists = [_words(tokens) for trial in trials for tokens in trial.lists]
        label, *vectors = _unit(await asyncio.to_thread(self.embedder.encode, [task.label, *lists]))
        if not label.any():
            return unscored(self.name, METRIC, "the label has no embedding")
        cosines = iter(float(vector @ label) for vector in vectors)
        similar = [[next(cosines) for _ in trial.lists] for trial in trials]
        pairs = enumerate(zip(trials, similar, strict=True), start=1)
        return self.of_items([trial.item(number, near.index(max(near))) for number, (trial, near) in pairs], task)

    def of_items(self, items: Sequence[ScoredItem], _task: ScoringTask) -> Score:
        """Over the choices that are among them."""
        return _score(self.name, items)


async def _trials(task: ScoringTask, runner: Runner) -> list[OutputTrial] | str:
    """The choices, or why there are none; the same for every label of a feature."""
    if not task.maximum:
        return "the feature's maximum activation is not known"
    found = await runner.raised(task.feature, task.maximum, TRIALS * RIVALS, task.seed)
    if not found:
        return "the feature writes nothing"
    own, *others = found
    rng = np.random.default_rng([task.seed, task.feature])
    made = []
    for start in range(0, len(others) - RIVALS + 1, RIVALS):
        lists = [own, *others[start : start + RIVALS]]
        order = rng.permutation(len(lists)).tolist()
        made.append(OutputTrial([lists[place] for place in order], order.index(0)))
    return made or "there are not enough other features to choose among"


def _score(scorer: str, items: Sequence[ScoredItem]) -> Score:
    right = [item.prediction is True for item in items if item.prediction is not None]
    return scored(scorer, METRIC, proportion(sum(right), len(right)), items, {"chance": 1 / (1 + RIVALS)})


def _words(tokens: Sequence[str]) -> str:
    return " ".join(token.strip() for token in tokens)


def _unit(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Vectors of length 1; zero where they have no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
