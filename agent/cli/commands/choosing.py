"""Chooses and sorts a run's labels by the options of a command, as the page of labels does by its form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from agent.errors import LogError
from agent.log.browsing import BrowsedLabel, LabelFilter, Order, Reviewed, label_page
from agent.log.calibrations import is_calibrated
from agent.log.comparisons import ClassRow, classes_of
from agent.log.naming import options_about
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from agent.log.scores import ScoreKey, score_kinds
from agent.schema import Status

_ALL = -1
"""Of SQLite's limits: none."""


@dataclass(frozen=True)
class LabelCriteria:
    """The options that choose labels; None leaves a criterion out."""

    search: str | None = None
    status: Status | None = None
    reviewed: Reviewed | None = None
    class_name: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    min_probability: float | None = None
    score: str | None = None
    """The scorer that the score limits and the order refer to."""
    min_score: float | None = None
    max_score: float | None = None
    sort: Order = "feature"
    descending: bool = False

    @property
    def is_everything(self) -> bool:
        """Tests if no label is left out."""
        return self == LabelCriteria(score=self.score, sort=self.sort, descending=self.descending)

    @property
    def asks_for_probability(self) -> bool:
        """Tests if the probability that labels are right decides the choice or the order."""
        return self.sort == "probability" or self.min_probability is not None

    @property
    def asks_for_score(self) -> bool:
        """Tests if a score decides the choice or the order."""
        return self.sort == "score" or (self.min_score, self.max_score) != (None, None)


EVERYTHING = LabelCriteria()


@dataclass(frozen=True)
class LabelSelection:
    """The labels of a run that were asked for."""

    labels: list[BrowsedLabel]
    scorer: str | None
    """The scorer whose scores they come with."""
    classes: Mapping[int, ClassRow]
    """Classes by feature, if `interpret taxonomy` has classified it."""


def choose(log: RunLog, run: RunSummary, wanted: LabelCriteria) -> LabelSelection:
    """Returns the chosen labels in order. Raises SettingsError for bad limits, LogError for an unknown score."""
    key = _score(log, run, wanted)
    found = LabelFilter.parse(
        {
            "search": wanted.search or "",
            "status": wanted.status,
            "reviewed": wanted.reviewed,
            "class_name": wanted.class_name,
            "min_confidence": wanted.min_confidence,
            "max_confidence": wanted.max_confidence,
            "min_probability": wanted.min_probability,
            "score": key,
            "min_score": wanted.min_score,
            "max_score": wanted.max_score,
            "order": wanted.sort,
            "descending": wanted.descending,
        }
    )
    classes = log.read(classes_of, run.subject["fingerprint"])
    if wanted.class_name is not None and not classes:
        name = run.subject["name"]
        raise LogError(f"{log.path} has no classes of {name}'s features for --class; interpret taxonomy makes them.")
    if wanted.asks_for_probability and not log.read(is_calibrated, run.run_id):
        raise LogError(
            f"No label of run {run.run_id} has a probability of being right; interpret calibrate gives them to labels "
            f"of {run.explainer}."
        )
    return LabelSelection(
        log.read(label_page, run.run_id, found, 0, _ALL), None if key is None else key.scorer, classes
    )


def in_order(found: Sequence[Sequence[BrowsedLabel]], wanted: LabelCriteria) -> list[BrowsedLabel]:
    """Returns the labels of several runs, each in the order asked for, in that order; by feature, run after run."""
    labels = [item for of_run in found for item in of_run]
    if wanted.sort == "feature" or len(found) == 1:
        return labels

    def value(item: BrowsedLabel) -> float:
        number = item.label.confidence if wanted.sort == "confidence" else getattr(item, wanted.sort)
        return -inf if number is None else float(number)

    return sorted(labels, key=value, reverse=wanted.descending)


def _score(log: RunLog, run: RunSummary, wanted: LabelCriteria) -> ScoreKey | None:
    """Returns the latest scoring by the named scorer, or by the only one; None if no score is asked for."""
    if wanted.score is None and not wanted.asks_for_score:
        return None
    kinds = log.read(score_kinds, run.run_id)
    names = [*dict.fromkeys(kind.key.scorer for kind in kinds)]
    name = wanted.score or (names[0] if len(names) == 1 else None)
    if not names:
        raise LogError(
            f"Run {run.run_id} has no scores; interpret score {run.run_id} {options_about(log.path, run)} makes them."
        )
    if name not in names:
        said = "--score names no score" if wanted.score is None else f"--score {wanted.score!r} names none"
        raise LogError(f"{said} of run {run.run_id}; it has {', '.join(names)}.")
    return next(kind.key for kind in kinds if kind.key.scorer == name)
