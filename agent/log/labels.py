"""Labels: kept, searched, and found again in other runs; rows in, values out."""

import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from agent.log.rows import escape, insert, made, now, select, some, update
from agent.schema import EarlierOutcome, Outcome, SenseResult, Status

_MAX_WORDS = 12
"""Words of a label that others are looked for by."""
_RARE = 5000
"""Labels: as many take a page as long as it takes to go through a run of 200,000 for those that have the words."""
_EMPTY_WORDS = frozenset({"a", "an", "and", "as", "at", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to"})
_SHARING = """
    SELECT feature FROM (
        SELECT rowid AS id, rank FROM labels_fts WHERE labels_fts MATCH :words ORDER BY rank LIMIT :ranked
    ) CROSS JOIN labels USING (id)
    WHERE run_id = :run_id AND feature != :feature AND status = 'labelled' ORDER BY rank, feature LIMIT :most
"""
_RANKED = 1000
"""Labels, of any run, that are looked at for those that share words: a frequent word is in thousands of a large run."""
_ELSEWHERE = """
    SELECT run_id FROM runs CROSS JOIN labels ON labels.run_id = runs.id AND labels.feature = :feature
    WHERE json_extract(subject, '$.fingerprint') = :fingerprint AND run_id != :run_id
    ORDER BY runs.created DESC, run_id DESC
"""
_OF_SUBJECT = """
    SELECT max(labels.created || printf(' %020d', labels.id)), feature, run_id, labels.status, label
    FROM runs CROSS JOIN labels ON runs.id = run_id WHERE json_extract(subject, '$.fingerprint') = :fingerprint
    AND feature IN (SELECT value FROM json_each(:features)) GROUP BY feature
"""
_MEDIAN = """
    WITH told AS (SELECT confidence FROM labels
        WHERE run_id = :run_id AND status = 'labelled' AND confidence IS NOT NULL)
    SELECT avg(confidence) AS median FROM (SELECT confidence FROM told ORDER BY confidence
        LIMIT 2 - (SELECT count(*) FROM told) % 2 OFFSET (SELECT (count(*) - 1) / 2 FROM told))
"""
_REASONS = """
    SELECT status, reason, count(*) AS n, min(feature) AS example FROM labels
    WHERE run_id = :run_id AND status IN ('abstained', 'failed') GROUP BY status, reason
"""


@dataclass(frozen=True)
class LabelRow:
    """The label of one feature in one run."""

    label_id: int
    run_id: int
    feature: int
    status: Status
    label: str
    explanation: str
    confidence: float | None
    rounds: int
    reason: str
    evidence: tuple[str, ...]
    created: str
    senses: tuple[SenseResult, ...] = ()
    activates_on: str = ""
    promotes: str = ""
    before: EarlierOutcome | None = None
    """What the first explainer had said, where a stronger one was asked."""


@dataclass(frozen=True)
class Labelled:
    """The conclusion of the latest run that concluded on a feature."""

    feature: int
    run_id: int
    status: Status
    label: str


@dataclass(frozen=True)
class Reason:
    """Features without a label, for one reason."""

    status: str
    reason: str
    n: int
    example: int
    """One of the features."""


def add_label(db: Database, run_id: int, outcome: Outcome) -> None:
    """Keeps a feature's outcome. A failed one is replaced and keeps its id; any other stands (sqlite3.IntegrityError).

    One that was probed and nothing else has its evidence to show for it and no label; what failed before is dropped.
    """
    if outcome.status == "probed":
        _drop_failure(db, run_id, outcome.feature)
        return
    row = {
        **outcome.model_dump(exclude={"feature", "evidence", "senses", "before"}),
        "evidence": json.dumps(outcome.evidence),
        "senses": json.dumps([asdict(sense) for sense in outcome.senses]),
        "before": None if outcome.before is None else json.dumps(asdict(outcome.before)),
        "created": now(),
    }
    key = {"run_id": run_id, "feature": outcome.feature}
    if update(db, "labels", row, {**key, "status": "failed"}) == 0:
        insert(db, "labels", {**key, **row})


def labels_of(
    db: Database,
    run_id: int,
    search: str | None = None,
    status: Status | None = None,
    features: Collection[int] | None = None,
) -> list[LabelRow]:
    """Returns labels of a run by feature, those that meet every condition given.

    `search` finds labels and explanations that hold all of its words, each by its beginning or its stem; without
    a word in it (`=>`) it is looked for as it stands.
    """
    conditions = ["run_id = :run_id"]
    values: dict[str, Any] = {"run_id": run_id}
    if status is not None:
        conditions.append("status = :status")
        values["status"] = status
    if features is not None:
        conditions.append("feature IN (SELECT value FROM json_each(:features))")
        values["features"] = some(features)
    if search is not None and search.strip():
        conditions.append(matching(search))
        values["search"] = search_words(search)
    sql = f"SELECT * FROM labels WHERE {' AND '.join(conditions)} ORDER BY feature"
    return [label_in(row) for row in select(db, sql, **values)]


def labels_elsewhere(db: Database, run_id: int, fingerprint: str, feature: int) -> list[LabelRow]:
    """Returns the feature's labels in the other runs of its subject, the latest first."""
    found = select(db, _ELSEWHERE, run_id=run_id, fingerprint=fingerprint, feature=feature)
    return [label for row in found for label in labels_of(db, row["run_id"], features=[feature])]


def labels_sharing_words(db: Database, run_id: int, feature: int, label: str, most: int) -> list[LabelRow]:
    """Returns other labels of the run that share words with `label`, by BM25, the rarest words first."""
    words = [word for word in re.findall(r"[^\W_]+", label.casefold()) if word not in _EMPTY_WORDS]
    if not words:
        return []
    wanted = " OR ".join(f'"{word}"' for word in dict.fromkeys(words[:_MAX_WORDS]))
    words_of_labels = {"words": f"label : ({wanted})", "ranked": _RANKED}
    ranked = select(db, _SHARING, **words_of_labels, run_id=run_id, feature=feature, most=most)
    order = [row["feature"] for row in ranked]
    found = {row.feature: row for row in labels_of(db, run_id, features=order)}
    return [found[other] for other in order]


def labelled(db: Database, fingerprint: str, features: Collection[int]) -> list[Labelled]:
    """Returns the latest labels of some of a subject's features."""
    found = select(db, _OF_SUBJECT, fingerprint=fingerprint, features=some(features))
    return [Labelled(row["feature"], row["run_id"], row["status"], row["label"]) for row in found]


def reasons_of(db: Database, run_id: int) -> list[Reason]:
    """Counts the reasons why features have no label."""
    return [made(Reason, row) for row in select(db, _REASONS, run_id=run_id)]


def median_confidence(db: Database, run_id: int) -> float | None:
    """Returns the median of the explainer's confidence over the run's labels."""
    found: float | None = next(select(db, _MEDIAN, run_id=run_id))["median"]
    return found


def matching(search: str, reviewer: str | None = None) -> str:
    """Returns the condition on `labels` for `search`: by words where it has any, else by its very characters.

    What reviewers wrote counts too, of one `reviewer` alone where one is given. `:search` in it is what `search_words`
    gives, `:reviewer` is the reviewer.
    """
    only = "" if reviewer is None else " AND reviewer = :reviewer"
    if _words_of(search):
        reviews = f"id IN (SELECT rowid FROM reviews_fts WHERE reviews_fts MATCH :search){only}"
        labels = "labels.id IN (SELECT rowid FROM labels_fts WHERE labels_fts MATCH :search)"
    else:
        reviews = f"(instr(label, :search) OR instr(note, :search)){only}"
        labels = "instr(labels.label, :search) OR instr(explanation, :search) OR instr(reason, :search)"
    return f"({labels} OR labels.id IN (SELECT label_id FROM standing_reviews WHERE {reviews}))"


def is_rare(db: Database, search: str) -> bool:
    """Tells whether so few labels, of any run, have the words searched for that they are best looked up one by one."""
    sql = "SELECT count(*) AS n FROM (SELECT 1 FROM labels_fts WHERE labels_fts MATCH :search LIMIT :most)"
    words = _words_of(search)
    return bool(words) and next(select(db, sql, search=words, most=_RARE))["n"] < _RARE


def search_words(search: str) -> str:
    """Returns the words that `matching` looks for."""
    return _words_of(search) or escape(search.strip())


def label_in(row: dict[str, Any]) -> LabelRow:
    """Makes a row of the table a value."""
    del row["title"]  # for whoever browses the file
    senses = tuple(_sense(sense) for sense in json.loads(row["senses"]))
    before = None if row["before"] is None else made(EarlierOutcome, json.loads(row["before"]))
    changed = {"evidence": tuple(json.loads(row["evidence"])), "senses": senses, "before": before}
    return made(LabelRow, {"label_id": row.pop("id"), **row, **changed})


def _drop_failure(db: Database, run_id: int, feature: int) -> None:
    """Removes the row that says a feature failed, unless somebody has said something of it."""
    said = "(SELECT label_id FROM reviews UNION SELECT label_id FROM scores)"
    where = f"run_id = ? AND feature = ? AND status = 'failed' AND id NOT IN {said}"
    db.execute(f"DELETE FROM labels WHERE {where}", [run_id, feature])


def _words_of(search: str) -> str:
    """Returns the words of `search`, all of them wanted, each by its beginning; nothing in it is query syntax."""
    return " ".join(f'"{word}"*' for word in re.findall(r"[^\W_]+", search))


def _sense(stored: dict[str, Any]) -> SenseResult:
    return made(SenseResult, {**stored, "evidence": tuple(stored["evidence"])})
