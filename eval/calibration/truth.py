"""Decides which labels of some runs are right: by known concepts, by reviewers, or by a scorer on held-out examples.

What nothing is known of is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from agent.errors import LogError
from agent.log.labels import LabelRow, labels_of
from agent.log.reviews import latest_verdict, reviews_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from agent.log.scores import scores_of, scorings_of
from eval.scoring.known import names_concept
from eval.scoring.score_run import HELD_OUT
from probes.demo.shipped import load_truth

KNOWN, REVIEWS = "known", "reviews"
_DEMO = "demo"


@dataclass(frozen=True)
class JudgedLabel:
    """A label that is known to be right or wrong."""

    run: RunSummary
    label: LabelRow
    is_right: bool
    group: str
    """Its concept where that is known, else its words: labels of one group are not judged by each other."""


@dataclass(frozen=True)
class Truth:
    """The authority that decides whether a label is right."""

    name: str
    """`known`, `reviews`, or a scorer."""
    least: float | None = None
    """Of a scorer: the least score of a right label; None: more than another feature's label scores there."""

    @property
    def words(self) -> str:
        """As it stands in sentences."""
        if self.name == KNOWN:
            return "known concepts"
        if self.name == REVIEWS:
            return "reviews"
        bound = "above another feature's label" if self.least is None else f"of at least {self.least:g}"
        return f"{self.name} {bound}"


def judged_labels(log: RunLog, runs: Sequence[RunSummary], truth: Truth) -> list[JudgedLabel]:
    """The runs' labels that are known to be right or wrong. Raises LogError for a scorer that a run lacks."""
    by = _KINDS.get(truth.name, _by_score)
    return [found for run in runs for found in by(log, run, truth)]


def default_truth(runs: Sequence[RunSummary]) -> Truth:
    """Known concepts where every run is about the embedded subject, else reviews."""
    return Truth(KNOWN if all(run.subject["name"] == _DEMO for run in runs) else REVIEWS)


def _labelled(log: RunLog, run: RunSummary) -> list[LabelRow]:
    return log.read(labels_of, run.run_id, status="labelled")


def _by_concept(log: RunLog, run: RunSummary, truth: Truth) -> Iterator[JudgedLabel]:  # noqa: ARG001
    if run.subject["name"] != _DEMO:
        raise LogError(
            f"Run {run.run_id} is about {run.subject['name']}, and only the features of {_DEMO} have known concepts; "
            "take --truth reviews, or a scorer's name."
        )
    shipped = load_truth()
    for label in _labelled(log, run):
        concept = shipped.features.get(label.feature)
        if concept is not None:
            yield JudgedLabel(run, label, names_concept(label.label, concept, shipped), concept.name)


def _by_review(log: RunLog, run: RunSummary, truth: Truth) -> Iterator[JudgedLabel]:  # noqa: ARG001
    """An edit says what the label should have been, so the machine's was not right."""
    for label in _labelled(log, run):
        verdict = latest_verdict(log.read(reviews_of, [label.label_id]))
        if verdict is not None:
            yield JudgedLabel(run, label, verdict == "accept", _words(label))


def _by_score(log: RunLog, run: RunSummary, truth: Truth) -> Iterator[JudgedLabel]:
    scorings = [log.read(scores_of, scoring.scoring_id) for scoring in log.read(scorings_of, run.run_id)]
    found = [[score for score in scores if (score.scorer, score.part) == (truth.name, HELD_OUT)] for scores in scorings]
    latest = next((scores for scores in found if scores), None)
    if latest is None:
        there = ", ".join(sorted({score.scorer for scores in scorings for score in scores})) or "none"
        raise LogError(
            f"Run {run.run_id} has no scores by {truth.name}; it has {there}. interpret score makes them, and "
            f"--truth {KNOWN} or {REVIEWS} needs none."
        )
    values = {(score.label_id, score.variant): score.value for score in latest}
    for label in _labelled(log, run):
        value = values.get((label.label_id, "label"))
        bar = values.get((label.label_id, "shuffled")) if truth.least is None else truth.least
        if value is not None and bar is not None:
            right = value > bar if truth.least is None else value >= bar
            yield JudgedLabel(run, label, right, _words(label))


def _words(label: LabelRow) -> str:
    return " ".join(label.label.casefold().split())


_KINDS: dict[str, Callable[[RunLog, RunSummary, Truth], Iterator[JudgedLabel]]] = {
    KNOWN: _by_concept,
    REVIEWS: _by_review,
}
