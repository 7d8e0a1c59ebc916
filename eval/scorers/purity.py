"""Purity: do the strongest activations lie on what the label names, and on nothing else?

After FADE (Puri et al. 2025, arXiv 2502.16994): the average precision of finding the texts that hold what the label
names by going down from the strongest activation. Low where the feature activates as strongly on other things, so
for a feature of several senses of which the label names one. Chance is the share of such texts, stated in `extra`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from eval.metrics import average_precision
from eval.scorers.base import Score, ScoredItem, ScoringTask, scored
from eval.scorers.ratings import RatedScorer, one_sided, sides

METRIC = "average_precision"


class Purity(RatedScorer):
    """Average precision of what the label names, by the largest activation of each text."""

    name: ClassVar[str] = "purity"
    metric: ClassVar[str] = METRIC

    def of_items(self, items: Sequence[ScoredItem], task: ScoringTask) -> Score:  # noqa: ARG002
        """Over the texts that are among them."""
        clear, peaks = sides(items)
        estimate = average_precision(clear, peaks)
        if reason := one_sided(items):
            estimate = replace(estimate, value=None, low=None, high=None, reason=reason)
        chance = sum(clear) / len(clear) if clear else None
        return scored(self.name, METRIC, estimate, items, {"chance": chance})
