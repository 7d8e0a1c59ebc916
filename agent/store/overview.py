"""A run in figures: how its scores spread, why features and calls failed, what labels rest on, when it last wrote.

Counting is left to SQLite and its indexes. Rows in, values out; knows no page.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from agent.store.browsing import ScoreKey
from agent.store.scores import scorings
from agent.store.table import rows
from agent.store.values import made
from probes.settings import ProbeKind, ProbeSettings

BINS = 20

_SPREAD = """
    SELECT variant, value FROM scores JOIN labels ON labels.id = scores.label_id
    WHERE scoring_id = :scoring_id AND scorer = :scorer AND part = 'held_out' AND value IS NOT NULL
    ORDER BY labels.feature, scores.id
"""
_SCORERS = "SELECT scorer FROM scores WHERE scoring_id = :scoring_id GROUP BY scorer ORDER BY min(id)"
_METRIC = """
    SELECT metric FROM scores WHERE scoring_id = :scoring_id AND scorer = :scorer AND part = 'held_out'
    AND variant = 'label' ORDER BY value DESC LIMIT 1
"""
_FAULTS = """
    SELECT fault, count(*) AS n, error, max(created || printf(' %020d', id)) FROM calls
    WHERE run_id = :run_id AND fault IS NOT NULL GROUP BY fault ORDER BY n DESC
"""
_REASONS = """
    SELECT status, reason, count(*) AS n, min(feature) AS example FROM labels
    WHERE run_id = :run_id AND status IN ('abstained', 'failed') GROUP BY status, reason
"""
_KEPT = """
    SELECT feature, round, settings, created FROM evidence WHERE run_id = :run_id AND item = 0
    ORDER BY created DESC, id DESC LIMIT :most
"""
_COMPARED = """
    SELECT count(DISTINCT feature) AS n FROM fits
    WHERE compared_id IN (SELECT id FROM compared WHERE comparison_id = :comparison_id)
"""
_SAMPLE = """
    SELECT feature, rounds, evidence FROM labels WHERE id IN (
        SELECT id FROM labels WHERE run_id = :run_id AND status = 'labelled'
        ORDER BY feature % :stride, feature LIMIT :most
    ) ORDER BY feature
"""
_EVIDENCE = """
    SELECT feature, round, kind, settings FROM evidence
    WHERE run_id = :run_id AND feature IN (SELECT value FROM json_each(:features)) ORDER BY feature, round, item
"""
_LAST_WRITTEN = """
    SELECT max(created) AS last FROM (
        SELECT max(created) AS created FROM labels WHERE run_id = :run_id
        UNION ALL SELECT max(created) FROM evidence WHERE run_id = :run_id
        UNION ALL SELECT max(created) FROM calls WHERE run_id = :run_id
        UNION ALL SELECT started FROM invocations WHERE run_id = :run_id
    )
"""


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


@dataclass(frozen=True)
class Fault:
    """Calls that failed in one way."""

    fault: str
    n: int
    latest: str
    """What the last of them said."""


@dataclass(frozen=True)
class Reason:
    """Features without a label, for one reason."""

    status: str
    reason: str
    n: int
    example: int
    """One of the features."""


@dataclass(frozen=True)
class KeptView:
    """Settings under which a feature was looked at."""

    feature: int
    round: int
    settings: ProbeSettings
    created: str


@dataclass(frozen=True)
class LoggedPiece:
    """A piece of evidence without its contents."""

    round: int
    kind: ProbeKind
    settings: str
    """JSON."""


@dataclass(frozen=True)
class Rested:
    """A label with the ids that it cites and all evidence of its feature, in the order in which ids number it."""

    feature: int
    rounds: int
    cited: tuple[str, ...]
    pieces: Sequence[LoggedPiece]


def score_kinds(db: Database, run_id: int) -> list[ScoreKind]:
    """The scorers of a run's scorings, the latest scoring first; those without a single score are left out."""
    found = []
    for scoring in scorings(db, run_id):
        for scorer in [row["scorer"] for row in rows(db, _SCORERS, {"scoring_id": scoring.scoring_id})]:
            key = ScoreKey(scoring_id=scoring.scoring_id, scorer=scorer)
            metric = next(rows(db, _METRIC, key.model_dump()), None)
            if metric is not None:
                found.append(ScoreKind(key, metric["metric"], scoring.judge, scoring.settings.get("seed", 0)))
    return found


def spreads(db: Database, key: ScoreKey) -> Spreads:
    """Returns the spread of a scorer's values, by variant."""
    names = key.model_dump()
    sql = """SELECT min(value) AS low FROM scores WHERE scoring_id = :scoring_id AND scorer = :scorer
        AND part = 'held_out'"""
    low = -1.0 if (next(rows(db, sql, names))["low"] or 0) < 0 else 0.0
    found: dict[str, list[float]] = {}
    for row in rows(db, _SPREAD, names):
        found.setdefault(row["variant"], []).append(row["value"])
    return Spreads(low, [Spread(variant, _bins(values, low), values) for variant, values in found.items()])


def faults(db: Database, run_id: int) -> list[Fault]:
    """Counts the faults of a run's calls, the most frequent first."""
    return [Fault(row["fault"], row["n"], row["error"] or "") for row in rows(db, _FAULTS, {"run_id": run_id})]


def reasons(db: Database, run_id: int) -> list[Reason]:
    """Counts the reasons why features have no label."""
    return [made(Reason, row) for row in rows(db, _REASONS, {"run_id": run_id})]


def kept_views(db: Database, run_id: int, most: int) -> list[KeptView]:
    """Returns the evidence kept while exploring, the latest first."""
    found = rows(db, _KEPT, {"run_id": run_id, "most": most})
    return [made(KeptView, row | {"settings": ProbeSettings.model_validate_json(row["settings"])}) for row in found]


def n_compared(db: Database, comparison_id: int) -> int:
    """On how many features settings were compared."""
    return int(next(rows(db, _COMPARED, {"comparison_id": comparison_id}))["n"])


def newest_score(db: Database) -> int:
    """A number that is another one once any score was kept or replaced."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM scores").fetchone()[0])


def rested(db: Database, run_id: int, n_labels: int, most: int) -> list[Rested]:
    """At most `most` of a run's labels with what they cite, spread evenly over its features."""
    stride = max(1, -(-n_labels // most))
    labels = list(rows(db, _SAMPLE, {"run_id": run_id, "stride": stride, "most": most}))
    pieces: dict[int, list[LoggedPiece]] = {label["feature"]: [] for label in labels}
    for row in rows(db, _EVIDENCE, {"run_id": run_id, "features": json.dumps([*pieces])}):
        pieces[row["feature"]].append(LoggedPiece(row["round"], row["kind"], row["settings"]))
    return [
        Rested(label["feature"], label["rounds"], tuple(json.loads(label["evidence"])), pieces[label["feature"]])
        for label in labels
    ]


def last_written(db: Database, run_id: int) -> str | None:
    """Returns the time of a run's last write, UTC."""
    found = next(rows(db, _LAST_WRITTEN, {"run_id": run_id}))["last"]
    return None if found is None else str(found)


def command_of(db: Database, run_id: int) -> str | None:
    """The command that last began or resumed a run, as typed."""
    sql = "SELECT command FROM invocations WHERE run_id = :run_id ORDER BY started DESC, id DESC LIMIT 1"
    return next((str(row["command"]) for row in rows(db, sql, {"run_id": run_id})), None)


def _bins(values: Sequence[float], low: float) -> list[int]:
    counts = [0] * BINS
    for value in values:
        counts[min(max(int((value - low) * BINS / (1.0 - low)), 0), BINS - 1)] += 1
    return counts
