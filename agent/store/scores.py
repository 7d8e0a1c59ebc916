"""Scorings of a run and their scores: rows in, values out."""

import json
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from agent.store.examples import corpus_identity
from agent.store.provenance import now
from agent.store.rows import ScoreRow, ScoringIdentity, ScoringRow
from agent.store.table import insert, rows
from agent.store.values import made

_SCORES = """
    SELECT scores.*, labels.feature FROM scores JOIN labels ON labels.id = scores.label_id
    WHERE scoring_id = :scoring_id {condition} ORDER BY labels.feature, scores.id
"""


def find_scoring(db: Database, identity: ScoringIdentity) -> int | None:
    """The scoring of that identity."""
    key = [identity.run_id, _hash(db, identity)]
    found = db.execute("SELECT id FROM scorings WHERE run_id = ? AND identity = ?", key).fetchone()
    return None if found is None else int(found[0])


def begin_scoring(db: Database, identity: ScoringIdentity) -> int:
    """The scoring of that identity, made if there is none."""
    return find_scoring(db, identity) or insert(
        db,
        "scorings",
        {
            "identity": _hash(db, identity),
            "run_id": identity.run_id,
            "corpus_id": identity.corpus_id,
            "judge": identity.judge,
            "settings": json.dumps(identity.settings),
            "created": now(),
        },
    )


def _hash(db: Database, identity: ScoringIdentity) -> str:
    return identity.hash(None if identity.corpus_id is None else corpus_identity(db, identity.corpus_id))


def add_scores(db: Database, scoring_id: int, scores: Sequence[ScoreRow]) -> None:
    """Scores, in the place of those that a scorer has given the same variants of a label before."""
    for score in scores:
        key = [scoring_id, score.label_id, score.scorer, score.variant]
        db.execute("DELETE FROM scores WHERE scoring_id = ? AND label_id = ? AND scorer = ? AND variant = ?", key)
    for score in scores:
        _insert(db, scoring_id, score)


def scorings(db: Database, run_id: int) -> list[ScoringRow]:
    """Returns the scorings of a run's labels, the latest first."""
    found = rows(db, "SELECT * FROM scorings WHERE run_id = :run_id ORDER BY created DESC, id DESC", {"run_id": run_id})
    return [
        made(
            ScoringRow,
            {
                "scoring_id": row["id"],
                "corpus_id": row["corpus_id"],
                "judge": row["judge"],
                "settings": json.loads(row["settings"]),
                "created": row["created"],
            },
        )
        for row in found
    ]


def scores(db: Database, scoring_id: int, label_id: int | None = None) -> list[ScoreRow]:
    """The scores of a scoring, of one label or all, by feature."""
    sql = _SCORES.format(condition="" if label_id is None else "AND label_id = :label_id")
    return [_score(row) for row in rows(db, sql, {"scoring_id": scoring_id, "label_id": label_id})]


def latest_scores(db: Database, run_id: int, label_id: int) -> tuple[ScoringRow, list[ScoreRow]] | None:
    """The latest scoring of the run that has scores of the label, and these."""
    found = ((scoring, scores(db, scoring.scoring_id, label_id)) for scoring in scorings(db, run_id))
    return next((pair for pair in found if pair[1]), None)


def _insert(db: Database, scoring_id: int, score: ScoreRow) -> None:
    insert(
        db,
        "scores",
        {
            "scoring_id": scoring_id,
            "label_id": score.label_id,
            "scorer": score.scorer,
            "variant": score.variant,
            "part": score.part,
            "label": score.label,
            "metric": score.metric,
            "value": score.value,
            "reason": score.reason,
            "low": score.low,
            "high": score.high,
            "n": score.n,
            "extra": json.dumps(dict(score.extra)),
            "items": json.dumps([dict(item) for item in score.items]),
            "template_hash": score.template_hash,
            "created": now(),
        },
    )


def _score(row: dict[str, Any]) -> ScoreRow:
    for unused in ("id", "scoring_id", "created"):
        del row[unused]
    return made(ScoreRow, row | {"extra": json.loads(row["extra"]), "items": json.loads(row["items"])})
