"""Responsiveness: does the feature activate more on texts that hold what the label names than on texts that do not?

After FADE (Puri et al. 2025, arXiv 2502.16994), which states a Gini coefficient, 2 AUROC - 1; `extra` has it. A judge
rates texts by the label alone, clear, partly or not at all; where `detection` asks for a yes about whether the feature
activates, here the activations are what is measured. A label too narrow loses nothing here, one too wide does.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from eval.metrics import auroc
from eval.scorers.base import Score, ScoredItem, ScoringTask, scored
from eval.scorers.ratings import RatedScorer, one_sided, sides

METRIC = "auroc"


class Responsiveness(RatedScorer):
    """AUROC of the largest activations of texts with what the label names against those of texts without it."""

    name: ClassVar[str] = "responsiveness"
    metric: ClassVar[str] = METRIC

    def of_items(self, items: Sequence[ScoredItem], task: ScoringTask) -> Score:  # noqa: ARG002
        """Over the texts that are among them."""
        estimate = auroc(*sides(items))
        if reason := one_sided(items):
            estimate = replace(estimate, reason=reason)
        gini = None if estimate.value is None else 2 * estimate.value - 1
        return scored(self.name, METRIC, estimate, items, {"gini": gini})
