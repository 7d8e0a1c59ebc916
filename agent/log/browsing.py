"""A run's labels as pages of a table: filtered, sorted, a screenful at a time, also where there are 100,000.

Every condition is met through an index that holds what it asks about, so that only the rows of one page are read whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from sqlite_utils import Database

from agent.log.comparisons import OF_CLASS
from agent.log.labels import LabelRow, is_rare, label_in, matching, search_words
from agent.log.reviews import VERDICTS, ReviewRow, reviews_of
from agent.log.rows import LATEST, first, made, select, some
from agent.log.scores import ScoreKey
from agent.schema import Status
from probes.settings import Value

Order = Literal["feature", "confidence", "probability", "score"]
Reviewed = Literal["no", "yes", "accept", "edit", "reject", "flag", "note"]

_SCORED = "scoring_id = :scoring_id AND scorer = :scorer AND part = 'held_out' AND variant = 'label'"
_LIMITS = (
    "status",
    "reviewer",
    "class_name",
    "min_confidence",
    "max_confidence",
    "min_probability",
    "min_score",
    "max_score",
)
_WORDS = """
    SELECT labels.id, summary, min(round * 1000 + item) FROM labels
    JOIN evidence ON evidence.run_id = labels.run_id AND evidence.feature = labels.feature
    WHERE labels.id IN (SELECT value FROM json_each(:ids)) AND kind = 'tokens' GROUP BY labels.id
"""


class LabelFilter(Value):
    """A choice of a run's labels, and their order."""

    search: str = ""
    status: Status | None = None
    reviewed: Reviewed | None = None
    """`yes` and `no`: whether there is any verdict; the verdicts: the latest one; flag, note: whether there is one."""
    reviewer: str | None = None
    """Whose reviews the search and `reviewed` mean; everybody's where that is None."""
    class_name: str | None = None
    """The kind of its feature, or the probe that captures it: one of `agent.schema.CLASSES`."""
    min_confidence: float | None = Field(default=None, ge=0, le=1)
    max_confidence: float | None = Field(default=None, ge=0, le=1)
    min_probability: float | None = Field(default=None, ge=0, le=1)
    """Of being right; this, and sorting by it, leaves out labels that have none."""
    score: ScoreKey | None = None
    """The score that the next two and the order mean; sorting by it leaves out what it has not looked at."""
    min_score: float | None = None
    max_score: float | None = None
    order: Order = "feature"
    descending: bool = False

    @model_validator(mode="after")
    def _knows_its_score(self) -> Self:
        if self.score is None and (self.order == "score" or (self.min_score, self.max_score) != (None, None)):
            raise ValueError("choose a score to sort or to filter by")
        return self


@dataclass(frozen=True)
class BrowsedLabel:
    """A row of the table that `interpret log RUN` and the pages show; exports have `agent.export.base.Record`."""

    label: LabelRow
    probability: float | None
    """That it is right, by `interpret calibrate`; None where nothing was calibrated for it."""
    score: float | None
    control: float | None
    """The same scorer's score of another feature's label on this one's texts."""
    words: str
    """The leading tokens of its first token list, as the log sums them up."""
    reviews: tuple[ReviewRow, ...]
    """Everybody's, oldest first."""


@dataclass(frozen=True)
class Around:
    """The features before and after one in the order of a filter, where there are any."""

    before: int | None
    after: int | None


@dataclass(frozen=True)
class _Query:
    """A filter in SQL: the columns that it sorts by, and FROM and WHERE with the values they name."""

    id: str
    key: str
    tie: str
    source: str
    values: dict[str, Any]

    def ordered(self, falling: bool) -> str:
        """ORDER BY; an unknown confidence or score is below all others, as SQLite sorts NULL."""
        direction = "DESC" if falling else "ASC"
        return "ORDER BY " + ", ".join(f"{column} {direction}" for column in dict.fromkeys((self.key, self.tie)))

    def beyond(self, falling: bool) -> str:
        """The condition that a row comes after the place that `:key` and `:tie` say, in that direction."""
        sign = "<" if falling else ">"
        if self.key == self.tie:  # which an index answers
            return f"{self.tie} {sign} :tie"
        return f"(coalesce({self.key}, -1e999), {self.tie}) {sign} (coalesce(:key, -1e999), :tie)"


def count_labels(db: Database, run_id: int, wanted: LabelFilter) -> int:
    """Counts the labels that meet the filter."""
    query = _query(db, run_id, wanted)
    return int(next(select(db, f"SELECT count(*) AS n {query.source}", **query.values))["n"])


def label_page(db: Database, run_id: int, wanted: LabelFilter, start: int, most: int) -> list[BrowsedLabel]:
    """Returns the labels from place `start` on, counted from 0."""
    query = _query(db, run_id, wanted)
    sql = f"SELECT {query.id} AS id {query.source} {query.ordered(wanted.descending)} LIMIT :most OFFSET :start"
    ids = [row["id"] for row in select(db, sql, **query.values, start=start, most=most)]
    return _browsed(db, ids, wanted.score)


def around(db: Database, run_id: int, wanted: LabelFilter, feature: int) -> Around:
    """Returns the neighbours of a feature that itself may not meet the filter: then those of its place in the order."""
    query = _query(db, run_id, wanted)
    here = _here(db, query, wanted, feature)
    if here is None:
        return Around(None, None)
    before, after = (_next(db, query, here, falling) for falling in (not wanted.descending, wanted.descending))
    return Around(before, after)


def place_of(db: Database, run_id: int, wanted: LabelFilter, feature: int) -> int:
    """Counts the labels of the filter that come before a feature's; 0 if the order has no place for it."""
    query = _query(db, run_id, wanted)
    here = _here(db, query, wanted, feature)
    if here is None:
        return 0
    sql = f"SELECT count(*) AS n {query.source} AND {query.beyond(not wanted.descending)}"
    return int(next(select(db, sql, **query.values, **here))["n"])


def label_of_table(db: Database, run_id: int, wanted: LabelFilter, feature: int) -> BrowsedLabel | None:
    """Returns one row of the table, whether it meets the filter or not."""
    sql = "SELECT id FROM labels WHERE run_id = :run_id AND feature = :feature"
    ids = [row["id"] for row in select(db, sql, run_id=run_id, feature=feature)]
    return next(iter(_browsed(db, ids, wanted.score)), None)


def _here(db: Database, query: _Query, wanted: LabelFilter, feature: int) -> dict[str, Any] | None:
    """A feature's place in the order, as the values of its columns."""
    table = {"score": "scores", "probability": "probabilities"}.get(wanted.order, "labels")
    scored = f"{_SCORED} AND " if wanted.order == "score" else ""
    sql = f"""SELECT {query.key} AS key, {query.tie} AS tie FROM {table}
        WHERE {scored}{query.id} = (SELECT id FROM labels WHERE run_id = :run_id AND feature = :feature)"""
    return first(db, sql, **query.values, feature=feature)


def _next(db: Database, query: _Query, here: dict[str, Any], falling: bool) -> int | None:
    """The first feature beyond a place in the order."""
    sql = f"""SELECT feature FROM labels
        WHERE id = (SELECT {query.id} {query.source} AND {query.beyond(falling)} {query.ordered(falling)} LIMIT 1)"""
    found = first(db, sql, **query.values, **here)
    return None if found is None else int(found["feature"])


def _query(db: Database, run_id: int, wanted: LabelFilter) -> _Query:
    values: dict[str, Any] = {"run_id": run_id, "verdict": wanted.reviewed, "search": search_words(wanted.search)}
    for name in _LIMITS:
        values[name] = getattr(wanted, name)
    if wanted.score is not None:
        values |= wanted.score.model_dump()
    conditions = list(_label_conditions(wanted))
    if wanted.order == "score":
        return _Query("scores.label_id", "scores.value", "scores.label_id", _scored_source(wanted, conditions), values)
    if limits := _limits(wanted):
        conditions.append(f"labels.id IN (SELECT label_id FROM scores WHERE {' AND '.join([_SCORED, *limits])})")
    if wanted.order == "probability":
        source = _probable_source(wanted, conditions)
        return _Query("probabilities.label_id", "probabilities.probability", "probabilities.label_id", source, values)
    # The plus keeps SQLite to the labels that were found, instead of going through the run for them.
    of_run = f"{'+' if is_rare(db, wanted.search) else ''}labels.run_id = :run_id"
    where = " AND ".join([of_run, *conditions, *_reviewed("labels.id", wanted)])
    return _Query("labels.id", f"labels.{wanted.order}", "labels.feature", f"FROM labels WHERE {where}", values)


def _scored_source(wanted: LabelFilter, conditions: Sequence[str]) -> str:
    """By score it is the scores' index that is read, and labels only where something else is asked of them."""
    of_run = "EXISTS (SELECT 1 FROM scorings WHERE id = :scoring_id AND run_id = :run_id)"
    where = [_SCORED, of_run, *_limits(wanted), *_reviewed("+scores.label_id", wanted)]
    if conditions:
        labels = " AND ".join(["labels.run_id = :run_id", *conditions])
        # The plus keeps SQLite to the index that is sorted by score, instead of one look-up for each label.
        where.append(f"+scores.label_id IN (SELECT labels.id FROM labels WHERE {labels})")
    return f"FROM scores WHERE {' AND '.join(where)}"


def _probable_source(wanted: LabelFilter, conditions: Sequence[str]) -> str:
    """By probability it is the index of probabilities that is read, as by score that of scores."""
    labels = " AND ".join(["labels.run_id = :run_id", *conditions])
    of_run = f"+probabilities.label_id IN (SELECT labels.id FROM labels WHERE {labels})"
    return f"FROM probabilities WHERE {' AND '.join([of_run, *_reviewed('+probabilities.label_id', wanted)])}"


def _label_conditions(wanted: LabelFilter) -> Iterator[str]:
    if wanted.search.strip():
        yield matching(wanted.search, wanted.reviewer)
    if wanted.status is not None:
        yield "labels.status = :status"
    if wanted.min_confidence is not None:
        yield "labels.confidence >= :min_confidence"
    if wanted.max_confidence is not None:
        yield "labels.confidence <= :max_confidence"
    if wanted.min_probability is not None:
        yield "labels.id IN (SELECT label_id FROM probabilities WHERE probability >= :min_probability)"
    if wanted.class_name is not None:
        yield f"labels.feature IN ({OF_CLASS})"


def _limits(wanted: LabelFilter) -> list[str]:
    limits = {"value >= :min_score": wanted.min_score, "value <= :max_score": wanted.max_score}
    return [limit for limit, value in limits.items() if value is not None]


def _reviewed(label_id: str, wanted: LabelFilter) -> Iterator[str]:
    """The condition on the column with a label's id."""
    only = "" if wanted.reviewer is None else " AND reviewer = :reviewer"
    some = f"FROM standing_reviews WHERE verdict IN {VERDICTS}{only}"
    if wanted.reviewed in ("yes", "no"):
        yield f"{label_id} {'NOT ' if wanted.reviewed == 'no' else ''}IN (SELECT label_id {some})"
    elif wanted.reviewed in VERDICTS:
        latest = f"SELECT {LATEST}, label_id, verdict {some} GROUP BY label_id"
        yield f"{label_id} IN (SELECT label_id FROM ({latest}) WHERE verdict = :verdict)"
    elif wanted.reviewed is not None:
        yield f"{label_id} IN (SELECT label_id FROM standing_reviews WHERE verdict = :verdict{only})"


def _browsed(db: Database, ids: Sequence[int], score: ScoreKey | None) -> list[BrowsedLabel]:
    wanted = some(ids)
    among = "(SELECT value FROM json_each(:ids))"
    labels = {row["id"]: row for row in select(db, f"SELECT * FROM labels WHERE id IN {among}", ids=wanted)}
    scores = {} if score is None else _scores(db, wanted, score)
    words = {row["id"]: row["summary"] for row in select(db, _WORDS, ids=wanted)}
    probable = f"SELECT label_id, probability FROM probabilities WHERE label_id IN {among}"
    probabilities = {row["label_id"]: row["probability"] for row in select(db, probable, ids=wanted)}
    reviews: dict[int, list[ReviewRow]] = {id: [] for id in ids}
    for review in reviews_of(db, ids):
        reviews[review.label_id].append(review)
    return [
        made(
            BrowsedLabel,
            {
                "label": label_in(labels[id]),
                "probability": probabilities.get(id),
                "score": scores.get((id, "label")),
                "control": scores.get((id, "shuffled")),
                "words": words.get(id, ""),
                "reviews": tuple(reviews[id]),
            },
        )
        for id in ids
    ]


def _scores(db: Database, ids: str, score: ScoreKey) -> dict[tuple[int, str], float | None]:
    """By label and variant. The plus keeps SQLite to the index of labels, instead of the one sorted by score."""
    sql = """SELECT label_id, variant, value FROM scores
        WHERE label_id IN (SELECT value FROM json_each(:ids)) AND scorer = :scorer
        AND +scoring_id = :scoring_id AND +part = 'held_out' AND +variant IN ('label', 'shuffled')"""
    return {(row["label_id"], row["variant"]): row["value"] for row in select(db, sql, ids=ids, **score.model_dump())}
