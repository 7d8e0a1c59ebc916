"""Fuzzing: can one tell by the label alone on which tokens of a text the feature activates?

After Paulo et al. 2024 (arXiv 2410.13928). Every activating text comes twice, with its active tokens marked and with as
many wrong ones: only the marks tell the two apart. Wrong marks in texts on which the feature does not activate would be
given away by the text, which is what detection asks; they are used only for texts without an inactive token to mark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np

from agent.evidence.shown_examples import active_places, cut, key_of, marked
from eval.scorers.base import Judge, Need, Score, ScoredItem, ScoringTask, drawn, unscored
from eval.scorers.verdicts import BATCH, METRIC, CandidateText, classified, judged
from probes.examples import Example


@dataclass(frozen=True)
class Fuzzing:
    """Balanced accuracy of telling right marks from wrong ones."""

    name: ClassVar[str] = "fuzzing"
    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    template: ClassVar[str] = "fuzzing"
    reads_label: ClassVar[bool] = True

    judge: Judge

    async def score(self, task: ScoringTask) -> Score:
        """Both versions of a text come in different questions, unless there are too few texts for that."""
        if not task.activating:
            return unscored(self.name, METRIC, "no held-out activating example")
        candidates = _candidates(task)
        if not candidates:
            return unscored(self.name, METRIC, "the feature is active on every token, so none can be marked wrongly")
        return self.of_items(await judged(self.judge, task, self.name, candidates), task)

    def of_items(self, items: Sequence[ScoredItem], _task: ScoringTask) -> Score:
        """Over the texts that are among them."""
        return classified(self.name, items)


def _candidates(task: ScoringTask) -> list[CandidateText]:
    """Right and wrong ones in turns, the wrong version of a text half the texts away from the right one."""
    rng = np.random.default_rng(task.seed)
    pairs = list(_pairs(task, rng))
    half = len(pairs) // 2
    turned = pairs[half:] + pairs[:half]
    order = list(chain.from_iterable((a[0], b[1]) for a, b in zip(pairs, turned, strict=True)))
    batches = (order[start : start + BATCH] for start in range(0, len(order), BATCH))
    return [batch[place] for batch in batches for place in rng.permutation(len(batch))]


def _pairs(task: ScoringTask, rng: np.random.Generator) -> Iterator[tuple[CandidateText, CandidateText]]:
    """Each text marked rightly, and it or another marked wrongly."""
    negatives = drawn(task.negatives, len(task.negatives), rng)
    for number, example in enumerate(drawn(task.activating, len(task.activating), rng)):
        excerpt = cut(example)
        right, carrier = active_places(excerpt), excerpt
        if not right:
            continue  # called activating by a source that gives it no activation
        wrong = _moved(right, carrier, rng)
        if not wrong and negatives:
            carrier = cut(negatives[number % len(negatives)])
            wrong = _moved(right, carrier, rng)
        if wrong:
            yield _candidate(excerpt, right, True), _candidate(carrier, wrong, False)


def _moved(places: Sequence[int], carrier: Example, rng: np.random.Generator) -> list[int]:
    """As many places where the feature does not activate, in the same pattern if it fits anywhere: a pattern tells
    nothing about the label, so it must not tell right from wrong either."""
    quiet = {place for place, activation in enumerate(carrier.activations) if activation <= 0}
    shifts = range(-places[0], len(carrier.tokens) - places[-1])
    fitting = [moved for shift in shifts if quiet.issuperset(moved := [place + shift for place in places])]
    if fitting:
        return fitting[rng.integers(len(fitting))]
    return sorted(rng.permutation(sorted(quiet))[: len(places)].tolist())


def _candidate(excerpt: Example, places: Sequence[int], truth: bool) -> CandidateText:
    text = marked(excerpt, places)
    return CandidateText(f"{key_of(excerpt)} {'right' if truth else 'wrong'}", text, text, truth)
