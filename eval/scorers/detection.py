"""Detection: can one tell by the label alone on which texts the feature activates?

After Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models" (arXiv 2410.13928).
As hard as its negatives: `extra` tells for each kind of them how many were rightly refused.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agent.evidence.shown_examples import cut, key_of, shown
from eval.scorers.base import Judge, Need, Score, ScoredItem, ScoringTask, drawn, lacking, unscored
from eval.scorers.verdicts import METRIC, CandidateText, classified, judged
from probes.examples import Example, ExampleKind


@dataclass(frozen=True)
class Detection:
    """Balanced accuracy of yes and no on as many texts that activate the feature as texts that do not."""

    name: ClassVar[str] = "detection"
    needs: ClassVar[frozenset[Need]] = frozenset({"judge"})
    template: ClassVar[str] = "detection"
    reads_label: ClassVar[bool] = True

    judge: Judge

    async def score(self, task: ScoringTask) -> Score:
        """Each text is asked about once, in random order among others."""
        if reason := lacking(task):
            return unscored(self.name, METRIC, reason)
        chosen = _balanced(task)
        items = await judged(self.judge, task, self.name, [_candidate(example) for example in chosen])
        return self.of_items(items, task)

    def of_items(self, items: Sequence[ScoredItem], task: ScoringTask) -> Score:
        """Beside it, the share of each kind of negatives that was told to be one."""
        kinds = {key_of(cut(example)): example.kind for example in task.negatives}
        return classified(self.name, items, _refused(items, kinds))


def _balanced(task: ScoringTask) -> list[Example]:
    rng = np.random.default_rng(task.seed)
    k = min(len(task.activating), len(task.negatives))
    return drawn(drawn(task.activating, k, rng) + drawn(task.negatives, k, rng), 2 * k, rng)


def _candidate(example: Example) -> CandidateText:
    excerpt = cut(example)
    return CandidateText(key_of(excerpt), excerpt.text, shown(excerpt), example.kind == "activating")


def _refused(items: Sequence[ScoredItem], kinds: Mapping[str, ExampleKind]) -> Mapping[str, float | None]:
    answered = [
        (kinds[item.key], bool(item.prediction)) for item in items if not item.truth and item.prediction is not None
    ]
    asked, refused = Counter(kind for kind, _ in answered), Counter(kind for kind, fits in answered if not fits)
    return {f"refused_{kind}": refused[kind] / n for kind, n in asked.items()}
