"""Gives a loop the log's examples: those to show, and those on which labels are checked.

Everything here comes from the side that may be shown; the other side is for scorers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from agent.calls.asking import AnswerSource
from agent.evidence.digest import escaped
from agent.evidence.shown_examples import ShownExamples, shown_examples
from agent.log.examples import corpus_identity, examples_of
from agent.log.run_log import RunLog
from agent.schema import Check, Proposal
from eval.scorers.base import ScoredItem, ScoringTask, drawn
from eval.scorers.detection import Detection
from eval.scorers.verdicts import BATCH
from eval.scoring.judge import LoggedJudge
from probes.examples import Example

SHOWN_EXAMPLES = 10
"""In a prompt."""
CHECK_EXAMPLES = 10
"""That activate the feature, and as many that do not, on which a label is tried out."""
CHECK_QUESTIONS = 2 * CHECK_EXAMPLES // BATCH
"""That trying a label out takes."""
TOLD_EXAMPLES = 4
"""Of those that it got wrong, of either kind, that the explainer is told."""
TEXT_CHARS = 400


@dataclass(frozen=True)
class CorpusExamples:
    """The texts of a corpus that an explainer may see."""

    log: RunLog
    corpus_id: int

    @property
    def corpus(self) -> str:
        """The identity of the corpus in any log."""
        return self.log.read(corpus_identity, self.corpus_id)

    def feedback(self, asker: AnswerSource, seed: int) -> "LabelCheck":
        """Tries labels out on these texts by asking `asker`."""
        return LabelCheck(self, asker, seed)

    def texts(self, feature: int) -> ShownExamples | None:
        """For a prompt; None where the feature was not looked at."""
        found = self.log.read(examples_of, self.corpus_id, feature, "shown", ["activating"])
        if found is None:
            return None
        density, maximum = (None, None) if (a := found.activity) is None else (a.frequency, a.maximum or None)
        return {"texts": shown_examples(list(found.examples), SHOWN_EXAMPLES), "density": density, "maximum": maximum}

    def examples(self, feature: int) -> tuple[list[Example], list[Example]]:
        """Returns the activating examples, and random ones that do not activate the feature."""
        found = self.log.read(examples_of, self.corpus_id, feature, "shown", ["activating", "random"])
        examples = [] if found is None else [*found.examples]
        return [e for e in examples if e.kind == "activating"], [e for e in examples if e.kind == "random"]


@dataclass(frozen=True)
class LabelCheck:
    """Detection (Paulo et al. 2024) of a proposed label on shown texts, by the explainer itself.

    The same texts for every label of a feature, so that its labels compare; some of them are those that it was shown,
    so that the figure is for choosing among labels and no measure of them.
    """

    shown: CorpusExamples
    asker: AnswerSource
    seed: int

    async def check(self, feature: int, round: int, proposal: Proposal) -> Check:
        """Scores the label on the shown examples, and tells which it got wrong."""
        activating, non_activating = self.shown.examples(feature)
        rng = np.random.default_rng([self.seed, feature])
        task = ScoringTask(
            feature=feature,
            label=proposal.label,
            variant="label",
            activating=drawn(activating, CHECK_EXAMPLES, rng),
            negatives=drawn(non_activating, CHECK_EXAMPLES, rng),
            seed=self.seed,
        )
        score = await Detection(LoggedJudge(self.asker, None, round)).score(task)
        wrong = [item for item in score.items if item.prediction is not None and item.prediction != item.truth]
        return Check(
            value=score.value,
            low=score.low,
            n=score.n,
            missed=_told(item for item in wrong if item.truth),
            mistaken=_told(item for item in wrong if not item.truth),
        )


def _told(items: Iterable[ScoredItem]) -> tuple[str, ...]:
    return tuple(escaped(item.text, TEXT_CHARS) for item in islice(items, TOLD_EXAMPLES))
