"""The input of every form of export: a run's labels with their reviews and scores, and access to their evidence.

Texts are unsafe, as the log has them; each form makes them safe.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.groups import RunGroup
from agent.log.comparisons import ClassRow
from agent.log.labels import LabelRow
from agent.log.reviews import VERDICTS, ReviewRow
from agent.log.runs import RunSummary
from agent.log.scores import ScoreRow, ScoringRow
from probes.evidence import Evidence
from probes.examples import FeatureExamples


@dataclass(frozen=True)
class ExportedScore:
    """A score with the scoring that it is from."""

    scoring: ScoringRow
    score: ScoreRow
    """The score, without its items."""


@dataclass(frozen=True)
class Record:
    """The label of one feature with its reviews and scores."""

    run: RunSummary
    label: LabelRow
    reviews: Sequence[ReviewRow]
    """Reviews, oldest first, undone ones included."""
    scores: Sequence[ExportedScore]
    """Scores, of the latest scoring first."""
    sorted_as: ClassRow | None = None
    """Its class, if `interpret taxonomy` has classified it."""
    probability: float | None = None
    """Probability that the label is right, if `interpret calibrate` has told it."""

    @property
    def review(self) -> ReviewRow | None:
        """Returns the valid verdict: the latest accept, edit or reject by anyone that was not undone."""
        standing = (said for said in reversed(self.reviews) if not said.undone and said.verdict in VERDICTS)
        return next(standing, None)

    @property
    def reviewed_label(self) -> str | None:
        """Returns the label that a reviewer accepted or wrote; None if there is none."""
        if self.review is None or self.review.verdict not in ("accept", "edit"):
            return None
        return self.review.label if self.review.verdict == "edit" else self.label.label

    @property
    def best_label(self) -> str | None:
        """Returns the reviewed label, else the machine's; None if there is none or a reviewer rejected it."""
        if self.reviewed_label is not None:
            return self.reviewed_label
        rejected = self.review is not None and self.review.verdict == "reject"
        return None if rejected or self.label.status != "labelled" else self.label.label


class Records(Protocol):
    """Records that can be counted, and read again and again."""

    def __iter__(self) -> Iterator[Record]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ExportedRun:
    """A run to be exported."""

    group: RunGroup
    """The run, or those of a command that labelled several layers."""
    records: Records
    """Records by layer and feature, read anew each time, so that a long run need not be held in memory."""
    evidence: Callable[[Record], Sequence[Evidence]]
    """Returns a feature's evidence, round after round."""
    collected: Callable[[Record], FeatureExamples | None]
    """Returns a feature's examples; None if none were collected."""
    calibrated: bool = False
    """True if any label of the run has a calibrated probability."""
    reviewed: bool = False
    """True if reviewed labels take the place of the machine's."""
    neuronpedia: "Mapping[int, Neuronpedia] | None" = None
    """Names of each run at Neuronpedia, if they are needed."""

    @property
    def run(self) -> RunSummary:
        """Returns the first run."""
        return self.group.runs[0]

    def address(self, record: Record) -> str:
        """Returns the feature's address: its index, with the layer in front if there are several."""
        return self.group.address(record.run.run_id, record.label.feature)

    def label_of(self, record: Record) -> str | None:
        """Returns the label for forms that show only one; None if the feature has none."""
        if self.reviewed:
            return record.best_label
        return record.label.label if record.label.status == "labelled" else None


@dataclass(frozen=True)
class Neuronpedia:
    """The names that an upload to Neuronpedia needs; all of them must exist there already."""

    model: str
    source: str
    method_name: str
    model_name: str
