"""The input of every form of export: a run's labels with their reviews and scores, and access to their evidence.

Texts are as the log has them: hostile, and each form's own to make safe.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agent.comparisons import ClassRow
from agent.runlog import LabelRow, RunSummary, ScoreRow, ScoringRow
from agent.store.reviews import VERDICTS, ReviewRow
from probes.evidence import Evidence
from probes.examples import FeatureExamples


@dataclass(frozen=True)
class ExportedScore:
    """A score with the scoring it is from."""

    scoring: ScoringRow
    score: ScoreRow
    """Without its items."""


@dataclass(frozen=True)
class Record:
    """The label of one feature with its reviews and scores."""

    run: RunSummary
    label: LabelRow
    reviews: Sequence[ReviewRow]
    """Oldest first, those that were taken back among them."""
    scores: Sequence[ExportedScore]
    """The latest scoring first."""
    sorted_as: ClassRow | None = None
    """Its class, where `interpret taxonomy` has sorted it."""
    probability: float | None = None
    """That the label is right, where `interpret calibrate` has told it."""

    @property
    def review(self) -> ReviewRow | None:
        """The verdict that stands: the latest accept, edit or reject that was not taken back, whoever gave it."""
        standing = (said for said in reversed(self.reviews) if not said.undone and said.verdict in VERDICTS)
        return next(standing, None)

    @property
    def reviewed_label(self) -> str | None:
        """The label that a reviewer accepted, or put in its place; None where none did."""
        if self.review is None or self.review.verdict not in ("accept", "edit"):
            return None
        return self.review.label if self.review.verdict == "edit" else self.label.label

    @property
    def best_label(self) -> str | None:
        """The reviewed label, else the machine's; None where there is none, or where a reviewer rejected it."""
        if self.reviewed_label is not None:
            return self.reviewed_label
        rejected = self.review is not None and self.review.verdict == "reject"
        return None if rejected or self.label.status != "labelled" else self.label.label


@dataclass(frozen=True)
class ExportedRun:
    """A run as it is exported."""

    run: RunSummary
    records: Iterable[Record]
    """By feature; read anew each time, so that a long run need not be held at once."""
    evidence: Callable[[int], Sequence[Evidence]]
    """Of a feature, round after round."""
    collected: Callable[[int], FeatureExamples | None]
    """How and where a feature fires; None where no texts were collected."""
    calibrated: bool = False
    """Whether any label of the run has a probability of being right."""
    reviewed: bool = False
    """Whether reviewed labels take the place of the machine's."""
    neuronpedia: "Neuronpedia | None" = None

    def label_of(self, record: Record) -> str | None:
        """The one label of forms that show one; None where the feature has none."""
        if self.reviewed:
            return record.best_label
        return record.label.label if record.label.status == "labelled" else None


@dataclass(frozen=True)
class Neuronpedia:
    """The facts of an upload that Neuronpedia asks for; all of it must exist there already."""

    model: str
    source: str
    method_name: str
    model_name: str
