"""A run as a table: one row for each feature, its scores and their controls side by side.

Each scorer's latest scoring is taken; the others are in JSONL alone.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.evidence.sense_words import counts_words
from agent.export.base import ExportedRun, ExportedScore, Record
from agent.groups import layer_of
from agent.log.reviews import ReviewRow
from agent.log.scores import ScoreRow, ScoringRow
from agent.schema import SenseResult
from eval.scoring.variants import VARIANTS

Kind = Literal["text", "whole", "real"]
Cell = str | int | float | None
_Key = tuple[str, str, str]
"""Scorer, part, variant."""

_FIGURES: Mapping[str, Kind] = {"value": "real", "low": "real", "high": "real", "n": "whole", "reason": "text"}


@dataclass(frozen=True)
class ExportRow:
    """One feature with its scores by key."""

    record: Record
    scores: Mapping[_Key, ScoreRow]


@dataclass(frozen=True)
class ExportColumn:
    """A column with the function that fills it."""

    name: str
    kind: Kind
    cell: Callable[[ExportRow], Cell]


@dataclass(frozen=True)
class ExportTable:
    """A run's columns and rows."""

    columns: Sequence[ExportColumn]
    exported: ExportedRun
    latest: Mapping[str, Collection[int]]
    """The scorings that are shown, one of each run, by scorer."""

    def rows(self) -> Iterator[list[Cell]]:
        """Yields the cells of each feature."""
        for record in self.exported.records:
            row = ExportRow(record, {_key(item.score): item.score for item in record.scores if self._is_shown(item)})
            yield [column.cell(row) for column in self.columns]

    def _is_shown(self, item: ExportedScore) -> bool:
        return item.scoring.scoring_id in self.latest[item.score.scorer]


def table(exported: ExportedRun) -> ExportTable:
    """Makes the table of a run; reads the run once to find its scores."""
    latest = latest_scorings(exported)
    keys = {_key(scored.score) for record in exported.records for scored in record.scores}
    about = [
        *_about_labels(exported.reviewed, exported.group.is_many),
        *_about_reviews(),
        *_about_scores(sorted(keys, key=_order)),
    ]
    return ExportTable(about, exported, latest)


def latest_scorings(exported: ExportedRun) -> dict[str, Collection[int]]:
    """Returns the latest scoring of each run by each scorer, by the scorer's name."""
    latest: dict[str, dict[int, ScoringRow]] = {}
    for record in exported.records:
        for scored in record.scores:
            of_scorer, run_id = latest.setdefault(scored.score.scorer, {}), record.run.run_id
            of_scorer[run_id] = later(of_scorer.get(run_id, scored.scoring), scored.scoring)
    return {scorer: {scoring.scoring_id for scoring in found.values()} for scorer, found in sorted(latest.items())}


def later(one: ScoringRow, other: ScoringRow) -> ScoringRow:
    """Returns the later of two scorings: numbers do not tell, since an import numbers old ones anew."""
    return max(one, other, key=lambda scoring: (scoring.created, scoring.scoring_id))


def _about_labels(reviewed: bool, layered: bool) -> list[ExportColumn]:
    found = [
        ExportColumn("run", "whole", lambda row: row.record.run.run_id),
        ExportColumn("subject", "text", lambda row: str(row.record.run.subject["name"])),
        ExportColumn("feature", "whole", lambda row: row.record.label.feature),
        ExportColumn("status", "text", lambda row: row.record.label.status),
        ExportColumn("label", "text", lambda row: row.record.label.label),
        ExportColumn("explanation", "text", lambda row: row.record.label.explanation),
        ExportColumn("confidence", "real", lambda row: row.record.label.confidence),
        ExportColumn("probability", "real", lambda row: row.record.probability),
        ExportColumn("reason", "text", lambda row: row.record.label.reason),
        ExportColumn("rounds", "whole", lambda row: row.record.label.rounds),
        ExportColumn("senses", "text", lambda row: _senses(row.record.label.senses)),
        ExportColumn("activates_on", "text", lambda row: row.record.label.activates_on or None),
        ExportColumn("promotes", "text", lambda row: row.record.label.promotes or None),
        ExportColumn("explainer", "text", lambda row: row.record.run.explainer),
        ExportColumn("kind", "text", lambda row: getattr(row.record.sorted_as, "kind", None)),
        ExportColumn("captured_by", "text", lambda row: getattr(row.record.sorted_as, "captured", None)),
    ]
    if layered:
        found.insert(2, ExportColumn("layer", "whole", lambda row: layer_of(row.record.run)))
    if reviewed:
        found.insert(5 + layered, ExportColumn("reviewed_label", "text", lambda row: row.record.reviewed_label))
    return found


def _about_reviews() -> Iterator[ExportColumn]:
    """Yields columns for the valid verdict, then for all reviews."""
    fields = {"verdict": "verdict", "reviewer": "reviewer", "reviewer_label": "label"}
    for name, field in fields.items():
        yield ExportColumn(name, "text", _of_review(field))
    yield ExportColumn(
        "flags", "text", lambda row: _joined(said.reviewer for said in _standing(row) if said.verdict == "flag")
    )
    yield ExportColumn(
        "notes", "text", lambda row: _joined(f"{said.reviewer}: {said.note}" for said in _standing(row) if said.note)
    )


def _about_scores(keys: Iterable[_Key]) -> Iterator[ExportColumn]:
    for key in keys:
        for figure, kind in _FIGURES.items():
            yield ExportColumn(_name(key, figure), kind, _of_score(key, figure))


def _standing(row: ExportRow) -> list[ReviewRow]:
    """Returns the reviews that were not undone, oldest first."""
    return [said for said in row.record.reviews if not said.undone]


def _senses(senses: Sequence[SenseResult]) -> str | None:
    """Each with how its texts did; None for an abstention."""
    return _joined(f"{sense.text} ({counts_words(sense)})" for sense in senses)


def _joined(texts: Iterable[str]) -> str | None:
    """Joins distinct words; None if there are none."""
    return " | ".join(dict.fromkeys(texts)) or None


def _of_review(field: str) -> Callable[[ExportRow], Cell]:
    return lambda row: getattr(row.record.review, field, None)


def _of_score(key: _Key, figure: str) -> Callable[[ExportRow], Cell]:
    return lambda row: getattr(row.scores.get(key), figure, None)


def _key(score: ScoreRow) -> _Key:
    return score.scorer, score.part, score.variant


def _name(key: _Key, figure: str) -> str:
    """Names a column: `embedding_label`, `embedding_label_low`; for a part, `embedding_new_words_label`."""
    scorer, part, variant = key
    parts = [scorer, part if part != "held_out" else "", variant, figure if figure != "value" else ""]
    return "_".join(filter(None, parts))


def _order(key: _Key) -> tuple[str, bool, str, int, str]:
    """Orders labels before controls, and the whole before its parts."""
    scorer, part, variant = key
    place = [*VARIANTS].index(variant) if variant in VARIANTS else len(VARIANTS)
    return scorer, part != "held_out", part, place, variant
