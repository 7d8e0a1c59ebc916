"""Scorings of a run, their scores and how these spread: rows in, values out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.log.examples import corpus_identity
from agent.log.rows import find_id, first, insert, made, now, select
from agent.log.runs import hash_of
from probes.settings import Value

BINS = 20

_SCORES = """
    SELECT scores.*, labels.feature FROM scores JOIN labels ON labels.id = scores.label_id
    WHERE scoring_id = :scoring_id {condition} ORDER BY labels.feature, scores.id
"""
_SPREAD = """
    SELECT variant, value FROM scores JOIN labels ON labels.id = scores.label_id
    WHERE scoring_id = :scoring_id AND scorer = :scorer AND part = 'held_out' AND value IS NOT NULL
    ORDER BY labels.feature, scores.id
"""
_LOWEST = """
    SELECT min(value) AS low FROM scores WHERE scoring_id = :scoring_id AND scorer = :scorer AND part = 'held_out'
"""
_SCORERS = "SELECT scorer FROM scores WHERE scoring_id = :scoring_id GROUP BY scorer ORDER BY min(id)"
_METRIC = """
    SELECT metric FROM scores WHERE scoring_id = :scoring_id AND scorer = :scorer AND part = 'held_out'
    AND variant = 'label' ORDER BY value DESC LIMIT 1
"""


class ScoringIdentity(Value):
    """Everything that decides how a run's labels are scored. Its run and corpus go by their numbers in one log."""

    run_id: int
    corpus_id: int | None
    judge: str
    settings: dict[str, Any]
    """Scorers are no part of them: each adds its scores to those of the others."""
    templates: dict[str, str]
    """Those behind every scorer; each scorer's own stands beside its scores."""

    def hash(self, corpus: str | None) -> str:
        """sha256 of the canonical JSON, the corpus by its identity: what one log numbers 1 another numbers 7."""
        how = self.model_dump(mode="json", exclude={"run_id", "corpus_id"})
        return hash_of({**how, "corpus": corpus})


class ScoreKey(Value):
    """One scorer of one scoring."""

    scoring_id: int
    scorer: str


@dataclass(frozen=True)
class ScoringRow:
    """A way in which a run's labels were scored."""

    scoring_id: int
    corpus_id: int | None
    """None where no scorer needed its examples."""
    judge: str
    settings: Mapping[str, Any]
    created: str


@dataclass(frozen=True)
class ScoreRow:
    """A score of a label or of a control. `value` is None exactly where `reason` says why."""

    label_id: int
    feature: int
    scorer: str
    variant: str
    part: str
    label: str
    metric: str
    value: float | None
    reason: str | None
    low: float | None
    high: float | None
    n: int
    extra: Mapping[str, float | None]
    items: Sequence[Mapping[str, Any]]
    template_hash: str = ""
    """Of the scorer's question; empty for one that asks none."""


@dataclass(frozen=True)
class ScoreKind:
    """A scorer of a scoring that has scores."""

    key: ScoreKey
    metric: str
    judge: str
    seed: int
    """Of the scoring."""


@dataclass(frozen=True)
class Spread:
    """The held-out values of one variant."""

    variant: str
    bins: Sequence[int]
    """Counts of equal bins over the score's range."""
    values: Sequence[float]
    """By feature."""

    @property
    def n(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Spreads:
    """The variants of one scorer; values lie between `low` and 1."""

    low: float
    variants: Sequence[Spread]


def find_scoring(db: Database, identity: ScoringIdentity) -> int | None:
    """Returns the scoring of that identity, where it was begun."""
    return find_id(db, "scorings", _key(db, identity))


def begin_scoring(db: Database, identity: ScoringIdentity) -> int:
    """Returns the scoring of that identity, made if there is none."""
    how = {"corpus_id": identity.corpus_id, "judge": identity.judge, "settings": json.dumps(identity.settings)}
    row = {**_key(db, identity), **how, "created": now()}
    return find_scoring(db, identity) or insert(db, "scorings", row)


def add_scores(db: Database, scoring_id: int, scores: Sequence[ScoreRow]) -> None:
    """Keeps scores, in the place of those that a scorer has given the same variants of a label before."""
    for score in scores:
        key = [scoring_id, score.label_id, score.scorer, score.variant]
        db.execute("DELETE FROM scores WHERE scoring_id = ? AND label_id = ? AND scorer = ? AND variant = ?", key)
    for score in scores:
        stored = {name: value for name, value in vars(score).items() if name != "feature"}
        texts = {"extra": json.dumps(dict(score.extra)), "items": json.dumps([dict(item) for item in score.items])}
        insert(db, "scores", {"scoring_id": scoring_id, **stored, **texts, "created": now()})


def scorings_of(db: Database, run_id: int) -> list[ScoringRow]:
    """Returns the scorings of a run's labels, the latest first."""
    sql = """SELECT id AS scoring_id, corpus_id, judge, settings, created FROM scorings WHERE run_id = :run_id
        ORDER BY created DESC, id DESC"""
    return [made(ScoringRow, row | {"settings": json.loads(row["settings"])}) for row in select(db, sql, run_id=run_id)]


def scores_of(db: Database, scoring_id: int, label_id: int | None = None) -> list[ScoreRow]:
    """Returns the scores of a scoring, of one label or all, by feature."""
    sql = _SCORES.format(condition="" if label_id is None else "AND label_id = :label_id")
    return [_score(row) for row in select(db, sql, scoring_id=scoring_id, label_id=label_id)]


def latest_scores(db: Database, run_id: int, label_id: int) -> tuple[ScoringRow, list[ScoreRow]] | None:
    """Returns the latest scoring of the run that has scores of the label, and these; None where there is none."""
    found = ((scoring, scores_of(db, scoring.scoring_id, label_id)) for scoring in scorings_of(db, run_id))
    return next((pair for pair in found if pair[1]), None)


def newest_score(db: Database) -> tuple[int, str] | None:
    """Returns a value that is another one once any score was kept or replaced.

    By the time as well, since what takes the place of the last row has its number.
    """
    row: tuple[int, str] | None = db.execute("SELECT id, created FROM scores ORDER BY id DESC LIMIT 1").fetchone()
    return row


def score_kinds(db: Database, run_id: int) -> list[ScoreKind]:
    """Returns the scorers of a run's scorings that have a score, the latest scoring first."""
    found = []
    for scoring in scorings_of(db, run_id):
        for scorer in [row["scorer"] for row in select(db, _SCORERS, scoring_id=scoring.scoring_id)]:
            key = ScoreKey(scoring_id=scoring.scoring_id, scorer=scorer)
            if metric := first(db, _METRIC, **key.model_dump()):
                found.append(ScoreKind(key, metric["metric"], scoring.judge, scoring.settings.get("seed", 0)))
    return found


def spreads_of(db: Database, key: ScoreKey) -> Spreads:
    """Returns the spread of a scorer's values, by variant."""
    names = key.model_dump()
    low = -1.0 if (next(select(db, _LOWEST, **names))["low"] or 0) < 0 else 0.0
    found: dict[str, list[float]] = {}
    for row in select(db, _SPREAD, **names):
        found.setdefault(row["variant"], []).append(row["value"])
    return Spreads(low, [Spread(variant, _bins(values, low), values) for variant, values in found.items()])


def _key(db: Database, identity: ScoringIdentity) -> Mapping[str, Any]:
    corpus = None if identity.corpus_id is None else corpus_identity(db, identity.corpus_id)
    return {"run_id": identity.run_id, "identity": identity.hash(corpus)}


def _score(row: dict[str, Any]) -> ScoreRow:
    for unused in ("id", "scoring_id", "created"):
        del row[unused]
    return made(ScoreRow, row | {"extra": json.loads(row["extra"]), "items": json.loads(row["items"])})


def _bins(values: Sequence[float], low: float) -> list[int]:
    counts = [0] * BINS
    for value in values:
        counts[min(max(int((value - low) * BINS / (1.0 - low)), 0), BINS - 1)] += 1
    return counts
