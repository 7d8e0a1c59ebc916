"""The class of each feature, as `interpret taxonomy` sorted it: rows in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from agent.store.provenance import now
from agent.store.table import LATEST, insert, rows
from agent.store.values import made

CLASSES_TABLE = """
CREATE TABLE classes (                  -- of features, as `interpret taxonomy` sorted them; the latest one counts
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons (id),  -- whose figures it rests on
    fingerprint TEXT NOT NULL,          -- of the subject, as in runs.subject
    feature INTEGER NOT NULL,
    kind TEXT NOT NULL,                 -- by where it fires: dead, positional, single token, concept, other, unknown
    captured TEXT,                      -- by which probe: both, list only, tree only, neither; NULL where unmeasured
    created TEXT NOT NULL,
    UNIQUE (comparison_id, feature)
);
CREATE INDEX classes_feature ON classes (fingerprint, feature);
"""
_LATEST = """
    SELECT {latest}, feature, kind, captured, comparison_id, created FROM classes
    WHERE fingerprint = {fingerprint} GROUP BY feature
"""
_OF_RUN = "(SELECT json_extract(subject, '$.fingerprint') FROM runs WHERE id = :run_id)"
OF_CLASS = (
    f"SELECT feature FROM ({_LATEST.format(fingerprint=_OF_RUN, latest=LATEST)}) WHERE :class_name IN (kind, captured)"
)
"""The features of the subject of `:run_id` whose latest class `:class_name` is a word for."""


@dataclass(frozen=True)
class ClassRow:
    """A feature's kind, and the probes that capture it."""

    feature: int
    kind: str
    captured: str | None
    """None where list or tree could not be measured."""
    comparison_id: int
    created: str

    def __str__(self) -> str:
        """`concept, captured by list only`."""
        return self.kind if self.captured is None else f"{self.kind}, captured by {self.captured}"


def add_classes(
    db: Database, comparison_id: int, fingerprint: str, found: Sequence[tuple[int, str, str | None]]
) -> None:
    """Each feature with kind and capture, in the place of what the same comparison said of it before."""
    for feature, kind, captured in found:
        db.execute("DELETE FROM classes WHERE comparison_id = ? AND feature = ?", [comparison_id, feature])
        row = {"comparison_id": comparison_id, "fingerprint": fingerprint, "feature": feature, "kind": kind}
        insert(db, "classes", {**row, "captured": captured, "created": now()})


def classes(db: Database, fingerprint: str) -> dict[int, ClassRow]:
    """The latest class of each of a subject's features that has one."""
    found = rows(db, _LATEST.format(fingerprint=":fingerprint", latest=LATEST), {"fingerprint": fingerprint})
    return {
        row["feature"]: made(ClassRow, {name: row[name] for name in ClassRow.__dataclass_fields__}) for row in found
    }
