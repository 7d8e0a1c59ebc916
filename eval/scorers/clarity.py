"""Clarity: does the feature activate on new texts written after its label, and not on texts written to avoid it?

The judge writes, the subject runs. After the clarity of FADE (Puri et al. 2025, arXiv 2502.16994), whose non-activating
texts come from a corpus where ours are written to be near misses, and the generation score of SAGE (arXiv 2511.20820).
It tells whether what the label says activates the feature, not whether the label says all that does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from eval.metrics import auroc, proportion
from eval.scorers.base import Judge, Need, Runner, Score, ScoredItem, ScoringTask, scored, unscored
from probes.settings import Value

METRIC = "auroc"
TEXTS = 10
"""Texts that should activate the feature, and as many that should not."""
TRIGGER_SHARE = 0.1
"""A text triggers the feature when it gets above this share of the highest activation known: out of the lowest tenth of
its range. Where no maximum is known, above 0."""


class ClarityTexts(Value):
    """The texts that the judge wrote."""

    activating: tuple[str, ...]
    """On which the feature should activate if the label is right."""
    non_activating: tuple[str, ...]
    """On which it should not."""


@dataclass(frozen=True)
class Clarity:
    """AUROC of the measured peaks of texts that should activate the feature and texts that should not."""

    name: ClassVar[str] = "clarity"
    needs: ClassVar[frozenset[Need]] = frozenset({"judge", "runner"})
    template: ClassVar[str] = "clarity"
    reads_label: ClassVar[bool] = True

    judge: Judge
    runner: Runner

    async def score(self, task: ScoringTask) -> Score:
        """One question; texts that are missing, empty or written before are unscored."""
        reply = await self.judge.ask(task.question(self.name, 0, ClarityTexts, n=TEXTS))
        if reply.value is None:
            return unscored(self.name, METRIC, reply.reason or "no answer")
        activating, non_activating = (_cleaned(texts) for texts in (reply.value.activating, reply.value.non_activating))
        usable = [text for text in dict.fromkeys((*activating, *non_activating)) if text]
        peaks = dict(zip(usable, await self.runner.peaks(task.feature, usable), strict=True))
        items = _items("activating", activating, peaks, True) + _items("non_activating", non_activating, peaks, False)
        return self.of_items(items, task)

    def of_items(self, items: Sequence[ScoredItem], task: ScoringTask) -> Score:
        """Over the texts that are among them."""
        return _score(items, task.maximum)


def _cleaned(texts: Sequence[str]) -> list[str]:
    """The first `TEXTS` texts, no half of a surrogate pair in them; empty ones where some are missing or repeated."""
    sound = [text.encode("utf-8", "replace").decode("utf-8").strip() for text in texts[:TEXTS]]
    first = [text if text not in sound[:place] else "" for place, text in enumerate(sound)]
    return first + [""] * (TEXTS - len(first))


def _items(name: str, texts: Sequence[str], peaks: dict[str, float], truth: bool) -> list[ScoredItem]:
    return [_item(f"{name} {number}", text, truth, peaks.get(text)) for number, text in enumerate(texts, start=1)]


def _item(key: str, text: str, truth: bool, peak: float | None) -> ScoredItem:
    if peak is None:
        return ScoredItem(key, text, truth, None, "the judge omitted it, left it empty or repeated it")
    if not math.isfinite(peak):
        return ScoredItem(key, text, truth, None, "the subject has no activation for it")
    return ScoredItem(key, text, truth, float(peak))


def _score(items: Sequence[ScoredItem], maximum: float | None) -> Score:
    measured = [(bool(item.truth), item.prediction) for item in items if isinstance(item.prediction, float)]
    truth, peaks = [t for t, _ in measured], [peak for _, peak in measured]
    bar = TRIGGER_SHARE * (maximum or 0.0)
    rates = {name: _rate([p > bar for t, p in measured if t is should]) for name, should in _RATES.items()}
    return scored(Clarity.name, METRIC, auroc(truth, peaks), items, rates)


_RATES = {"trigger_rate": True, "false_trigger_rate": False}


def _rate(triggered: Sequence[bool]) -> float | None:
    return proportion(sum(triggered), len(triggered)).value
