"""People's reviews of labels: rows in, values out. A row is never changed and never deleted.

A review is taken back by a row of its own, `undo`, that names it: the log keeps who thought what and when, and two
reviewers' logs merge by adding rows. Of one reviewer's accept, edit and reject the latest that stands is the verdict;
flags and notes stand beside it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator
from sqlite_utils import Database

from agent.errors import LogError
from agent.log.rows import first, insert, made, now, select, some
from probes.settings import Value

Verdict = Literal["accept", "edit", "reject"]
ReviewKind = Literal["accept", "edit", "reject", "flag", "note"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

_REVIEWS = """
    SELECT reviews.*, later.id IS NOT NULL AS undone
    FROM reviews LEFT JOIN reviews AS later ON later.undoes = reviews.id
    WHERE reviews.label_id IN (SELECT value FROM json_each(:label_ids)) AND reviews.verdict != 'undo'
    ORDER BY reviews.created, reviews.id
"""
_VERDICTS = """
    SELECT max(standing_reviews.created || printf(' %020d', standing_reviews.id)), label_id, reviewer, verdict
    FROM standing_reviews CROSS JOIN labels ON labels.id = label_id
    WHERE run_id = :run_id AND verdict IN ('accept', 'edit', 'reject') AND blind >= :blind GROUP BY label_id, reviewer
"""
_LAST = """
    SELECT id FROM standing_reviews WHERE label_id = :label_id AND reviewer = :reviewer
    ORDER BY created DESC, id DESC LIMIT 1
"""


class Review(Value):
    """A reviewer's judgement of a label."""

    verdict: ReviewKind
    label: str | None = Field(default=None, max_length=200)
    """For `edit`: the wording that should have been."""
    note: str | None = Field(default=None, max_length=10_000)
    blind: bool = False
    """Whether scores and confidence were hidden."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.verdict == "edit") != bool((self.label or "").strip()):
            raise ValueError("an edit, and nothing else, comes with the label that should have been")
        if self.verdict == "note" and not (self.note or "").strip():
            raise ValueError("a note needs words")
        return self


@dataclass(frozen=True)
class ReviewRow:
    """A review as it stands in the log."""

    review_id: int
    label_id: int
    reviewer: str
    verdict: ReviewKind
    label: str | None
    note: str | None
    blind: bool
    created: str
    undone: bool
    """Whether it was taken back."""


def add_review(db: Database, label_id: int, reviewer: str, review: Review) -> None:
    """Keeps what a reviewer says of a label.

    Raises `LogError` for a label that is not there, and for a feature that failed, which has nothing to review.
    """
    found = db.execute("SELECT status, feature FROM labels WHERE id = ?", [label_id]).fetchone()
    if found is None:
        raise LogError(f"The log has no label {label_id} any more; look at the feature again.")
    if found[0] == "failed":
        raise LogError(f"Feature {found[1]} failed: there is nothing to review until the run has been resumed.")
    said = review.model_dump() | {"blind": int(review.blind)}
    insert(db, "reviews", {"label_id": label_id, "reviewer": reviewer, **said, "created": now()})


def undo_review(db: Database, label_id: int, reviewer: str) -> bool:
    """Takes back the latest of the reviewer's reviews of a label that stands; False where there is none."""
    last = first(db, _LAST, label_id=label_id, reviewer=reviewer)
    if last is None:
        return False
    row = {"label_id": label_id, "reviewer": reviewer, "verdict": "undo", "blind": 0, "undoes": last["id"]}
    insert(db, "reviews", {**row, "created": now()})
    return True


def reviews_of(db: Database, label_ids: Collection[int]) -> list[ReviewRow]:
    """Returns everything said of these labels, oldest first, also what was taken back."""
    return [_review(row) for row in select(db, _REVIEWS, label_ids=some(label_ids))]


def latest_verdict(reviews: Sequence[ReviewRow]) -> Verdict | None:
    """Returns the verdict of a label's `reviews`, oldest first: the latest that stands, whoever gave it."""
    latest: Verdict | None = None
    for review in reviews:
        if not review.undone and review.verdict in VERDICTS:
            latest = review.verdict
    return latest


def latest_wording(reviews: Sequence[ReviewRow]) -> str | None:
    """Returns the label as reviewers would have it: of the latest verdict that stands, if that is an edit."""
    latest: str | None = None
    for review in reviews:
        if not review.undone and review.verdict in VERDICTS:
            latest = review.label
    return latest


def standing(reviews: Sequence[ReviewRow], kind: ReviewKind) -> int:
    """Counts the reviews of that kind that stand."""
    return sum(review.verdict == kind and not review.undone for review in reviews)


def verdicts_of(db: Database, run_id: int, blind: bool = False) -> dict[str, dict[int, Verdict]]:
    """Returns each reviewer's verdicts on a run's labels, by label; if `blind`, those alone that were given blind."""
    found: dict[str, dict[int, Verdict]] = {}
    for row in select(db, _VERDICTS, run_id=run_id, blind=int(blind)):
        found.setdefault(row["reviewer"], {})[row["label_id"]] = row["verdict"]
    return found


def _review(row: dict[str, Any]) -> ReviewRow:
    del row["undoes"]
    changed = {"blind": bool(row["blind"]), "undone": bool(row["undone"])}
    return made(ReviewRow, {"review_id": row.pop("id"), **row | changed})
