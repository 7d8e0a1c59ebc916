"""Finds after how many rounds another one does not pay, by what the log's history says of features like these.

Alike are features of one explainer whose first evidence has the same grade. Of those that went on after a round, some
were labelled, and of these labels some are known to be right (by known concepts, reviews or scores, as a calibration
knows it). The product is the most that going on can add to the probability of a right label: a label given at that
round instead might have been right too. Runs that this rule stopped are left out, or it would feed on itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.errors import LogError
from agent.evidence.digest import digest
from agent.evidence.first_grade import grade_of
from agent.log.evidence import evidence_of
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs
from agent.log.scores import scores_of, scorings_of
from eval.calibration.truth import REVIEWS, Truth, default_truth, judged_labels
from probes.proportion import Proportion

FEWEST = 20
"""Features that went on, and labels of theirs that are judged, below which nothing is concluded."""
_ANY_SCALE = 1.0


@dataclass(frozen=True)
class RoundGain:
    """The gain of features of one grade that went on after a round."""

    grade: str
    after: int
    """The round."""
    labelled: Proportion
    """Of those that went on, how many were labelled in the end."""
    right: Proportion | None
    """Of the labels that are judged, how many are right; None where none is."""

    @property
    def most(self) -> float:
        """The most that going on can add: the product of both upper ends; 1 where too little is known."""
        judged = 0 if self.right is None else self.right.n
        upper = self.labelled.interval[1]
        if self.labelled.n < FEWEST:
            return 1.0
        if self.right is None or judged < FEWEST:
            return upper
        return upper * self.right.interval[1]

    def sentence(self) -> str:
        """Says in one line what is known."""
        right = "none of their labels is judged" if self.right is None else f"of judged labels {self.right} are right"
        return (
            f"{self.after} where the first evidence is graded {self.grade}: of {self.labelled.n:,} such features that "
            f"went on {self.labelled} were labelled, {right}, so that more adds at most {self.most:.2f}"
        )


@dataclass(frozen=True)
class PayingRounds:
    """The rounds that pay, by grade; grades whose features may have all rounds are left out."""

    rounds: Mapping[str, int]
    gains: Sequence[RoundGain]
    """What stops each of them, in the same order."""
    n_features: int
    """Features that the history knows."""


def paying_rounds(log: RunLog, explainer: str, fingerprint: str, rounds: int, least_gain: float) -> PayingRounds:
    """Finds for each grade the first round after which going on adds less than `least_gain`, whatever is unknown.

    Raises LogError for a damaged log.
    """
    history = [*_history(log, explainer, fingerprint)]
    found: dict[str, RoundGain] = {}
    for grade in dict.fromkeys(one.grade for one in history):
        mine = [one for one in history if one.grade == grade]
        gains = (_gain(grade, after, mine) for after in range(1, rounds))
        stop = next((gain for gain in gains if gain is not None and gain.most < least_gain), None)
        if stop is not None:
            found[grade] = stop
    ordered = dict(sorted(found.items()))
    return PayingRounds({grade: gain.after for grade, gain in ordered.items()}, [*ordered.values()], len(history))


@dataclass(frozen=True)
class _Past:
    """A feature of an earlier run."""

    grade: str
    rounds: int
    is_labelled: bool
    is_right: bool | None


def _gain(grade: str, after: int, features: Sequence[_Past]) -> RoundGain | None:
    went_on = [one for one in features if one.rounds > after]
    judged = [one.is_right for one in went_on if one.is_labelled and one.is_right is not None]
    if not went_on:
        return None
    labelled = Proportion(sum(one.is_labelled for one in went_on), len(went_on))
    return RoundGain(grade, after, labelled, Proportion(sum(judged), len(judged)) if judged else None)


def _history(log: RunLog, explainer: str, fingerprint: str) -> Iterator[_Past]:
    """Yields the features of the explainer's runs of several rounds, those about this subject where there are any."""
    runs = [run for run in log.read(all_runs) if run.explainer == explainer and "least_gain" not in run.settings]
    runs = [run for run in runs if run.settings.get("rounds", 1) > 1]
    runs = [run for run in runs if run.subject["fingerprint"] == fingerprint] or runs
    for run in runs:
        judged = _judged(log, run)
        for row in log.read(labels_of, run.run_id):
            if row.status != "failed":
                yield _Past(_grade(log, row), row.rounds, row.status == "labelled", judged.get(row.label_id))


def _judged(log: RunLog, run: RunSummary) -> dict[int, bool]:
    """Tells which labels are right: by known concepts or reviews, else by the first scorer that tells."""
    truths = [default_truth([run]), Truth(REVIEWS), *(Truth(name) for name in _scorers(log, run))]
    for truth in truths:
        try:
            found = judged_labels(log, [run], truth)
        except LogError:  # of that authority the run knows nothing
            continue
        if found:
            return {one.label.label_id: one.is_right for one in found}
    return {}


def _scorers(log: RunLog, run: RunSummary) -> list[str]:
    scores = (
        score for scoring in log.read(scorings_of, run.run_id) for score in log.read(scores_of, scoring.scoring_id)
    )
    return [*dict.fromkeys(score.scorer for score in scores if score.variant == "label" and score.value is not None)]


def _grade(log: RunLog, row: LabelRow) -> str:
    return grade_of(digest(log.read(evidence_of, row.run_id, row.feature, 1), _ANY_SCALE))
