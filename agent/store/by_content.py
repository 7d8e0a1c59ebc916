"""The migration that takes a log's own numbers out of what tells its runs and scorings apart.

A corpus used to be named in a run's settings, and in a scoring's identity, by its number, which is another one in the
log that they are imported into. As of every migration, what has been released is never changed.
"""

import json
from typing import Any

from sqlite_utils import Database

from agent.store.rows import hash_of

SCORINGS_OF_RUNS = """
PRAGMA defer_foreign_keys=ON;           -- until the rows that scores and calls refer to are back
CREATE TEMP TABLE old_scorings AS SELECT * FROM scorings;
DROP TABLE scorings;
CREATE TABLE scorings (                 -- one row per way of scoring a run's labels; each scorer's scores join it
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,             -- sha256 of the corpus's identity, judge, templates and settings
    run_id INTEGER NOT NULL REFERENCES runs (id),
    corpus_id INTEGER REFERENCES corpora (id),           -- NULL where no scorer needs its texts
    judge TEXT NOT NULL,                -- the model that scorers ask
    settings TEXT NOT NULL,             -- JSON
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS (judge || ', ' || substr(created, 1, 10)) VIRTUAL,
    UNIQUE (run_id, identity)
);
INSERT INTO scorings SELECT id, identity, run_id, corpus_id, judge, settings, created FROM old_scorings;
DROP TABLE old_scorings;
"""
TIMES = """
CREATE INDEX evidence_created ON evidence (run_id, created);
CREATE INDEX calls_created ON calls (run_id, created);
CREATE INDEX labels_created ON labels (run_id, created);

DROP VIEW labels_reviewed;
CREATE VIEW labels_reviewed AS          -- each label with the latest verdict on it, whoever gave it
    SELECT labels.id, run_id, feature, status, labels.label, explanation, confidence, verdict,
        latest.label AS reviewed_label, reviewer, latest.note AS note, latest.created AS reviewed
    FROM labels LEFT JOIN (
        SELECT max(created || printf(' %020d', id)), label_id, verdict, label, reviewer, note, created
        FROM standing_reviews WHERE verdict IN ('accept', 'edit', 'reject') GROUP BY label_id
    ) AS latest ON latest.label_id = labels.id;
"""
"""Indexes by which the latest row of a run is found, and reviews of which the latest counts, not the highest number."""

_RENAMED = {"corpus_id": "corpus", "maxima_corpus_id": "maxima_corpus"}


def by_content(db: Database) -> None:
    """Names corpora by their identities, and makes the identities of runs and scorings anew.

    How a scoring's identity was made cannot be told from its row: it becomes one that no new scoring has.
    """
    db.executescript(SCORINGS_OF_RUNS)
    db.executescript(TIMES)
    corpora = dict(db.execute("SELECT id, identity FROM corpora").fetchall())
    for run in list(db.query("SELECT id, subject, settings, explainer, templates FROM runs")):
        settings = json.loads(run["settings"])
        if settings.keys() & _RENAMED.keys():
            settings = {_RENAMED.get(name, name): _named(name, value, corpora) for name, value in settings.items()}
            changes = [json.dumps(settings), _run_identity(run, settings), run["id"]]
            db.execute("UPDATE runs SET settings = ?, identity = ? WHERE id = ?", changes)
    for id, identity, corpus_id in db.execute("SELECT id, identity, corpus_id FROM scorings").fetchall():
        anew = hash_of({"as it was": identity, "corpus": corpora.get(corpus_id)})
        db.execute("UPDATE scorings SET identity = ? WHERE id = ?", [anew, id])


def _named(name: str, value: Any, corpora: dict[int, str]) -> Any:
    return corpora.get(value) if name in _RENAMED else value


def _run_identity(run: dict[str, Any], settings: dict[str, Any]) -> str:
    subject = {name: value for name, value in json.loads(run["subject"]).items() if name != "device"}
    parts = {"subject": subject, "settings": settings, "templates": json.loads(run["templates"])}
    return hash_of({**parts, "explainer": run["explainer"]})
