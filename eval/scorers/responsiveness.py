"""Responsiveness: does the feature activate more on texts that hold what the label names than on texts that do not?

After FADE (Puri et al. 2025, arXiv 2502.16994), which states a Gini coefficient, 2 AUROC - 1; `extra` has it. A judge
rates texts by the label alone, clear, partly or not at all; where `detection` asks for a yes about whether the feature
activates, here the activations are what is measured. A label too narrow loses nothing here, one too wide does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from eval.metrics import auroc
from eval.scorers.base import Judge, Need, Score, ScoredItem, ScoringTask, lacking, scored, unscored
from eval.scorers.ratings import TEMPLATE, one_sided, rated, sides

METRIC = "auroc"


@dataclass(frozen=True)
class Responsiveness:
    """AUROC of the largest activations of texts with what the label names against those of texts without it."""

    name: ClassVar[str] = "responsiveness"
    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    template: ClassVar[str] = TEMPLATE
    reads_label: ClassVar[bool] = True

    judge: Judge

    async def score(self, task: ScoringTask) -> Score:
        """Each text is rated once, in random order among others."""
        if reason := lacking(task):
            return unscored(self.name, METRIC, reason)
        return self.of_items(await rated(self.judge, task), task)

    def of_items(self, items: Sequence[ScoredItem], _task: ScoringTask) -> Score:
        """Over the texts that are among them."""
        estimate = auroc(*sides(items))
        if reason := one_sided(items):
            estimate = replace(estimate, reason=reason)
        gini = None if estimate.value is None else 2 * estimate.value - 1
        return scored(self.name, METRIC, estimate, items, {"gini": gini})
