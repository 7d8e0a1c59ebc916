"""Settings compared, how well each fits each feature, and what is recommended for a subject: rows in, values out."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.schema import Status
from agent.store import codec
from agent.store.provenance import now
from agent.store.table import insert, rows
from agent.store.values import made
from probes.evidence import Evidence
from probes.presets import SubjectCard
from probes.settings import ProbeKind, ProbeSettings, Value


class ComparisonIdentity(Value):
    """Everything besides a setting that decides how well it fits."""

    run_id: int
    """The run that holds the evidence."""
    corpus_id: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class ComparisonRow:
    """A way in which settings were compared."""

    comparison_id: int
    run_id: int
    corpus_id: int
    settings: Mapping[str, Any]
    subject: SubjectCard
    created: str


@dataclass(frozen=True)
class FitRow:
    """One measure of one feature under one setting. `value` is None exactly where `reason` says why."""

    feature: int
    measure: str
    texts_of: int
    """The feature on whose texts: its own, or as a control another's."""
    value: float | None
    reason: str | None
    low: float | None
    high: float | None
    n: int

    @property
    def is_own(self) -> bool:
        """Tells whether it is no control."""
        return self.feature == self.texts_of


@dataclass(frozen=True)
class EvidenceKey:
    """The key of a piece of evidence in the log, without the evidence."""

    evidence_id: int
    feature: int
    kind: ProbeKind
    settings: ProbeSettings


@dataclass(frozen=True)
class Recommendation:
    """A recommendation of `interpret taxonomy` for a subject."""

    fingerprint: str
    settings: ProbeSettings
    because: str
    comparison_id: int
    created: str


@dataclass(frozen=True)
class Labelled:
    """The conclusion of the latest run that concluded on a feature."""

    feature: int
    run_id: int
    status: Status
    label: str


_LABELLED = """
    SELECT max(labels.created || printf(' %020d', labels.id)), feature, run_id, labels.status, label
    FROM labels JOIN runs ON runs.id = run_id
    WHERE explainer NOT IN (SELECT value FROM json_each(:apart))
    AND json_extract(subject, '$.fingerprint') = :fingerprint
    AND feature IN (SELECT value FROM json_each(:features)) GROUP BY feature
"""
_COMPARISONS = """
    SELECT comparisons.*, runs.subject FROM comparisons JOIN runs ON runs.id = comparisons.run_id
    WHERE :fingerprint IS NULL OR json_extract(runs.subject, '$.fingerprint') = :fingerprint
    ORDER BY comparisons.created DESC, comparisons.id DESC
"""
_FITS = """
    SELECT feature, measure, texts_of, value, reason, low, high, n FROM fits
    JOIN compared ON compared.id = fits.compared_id
    WHERE compared.comparison_id = :comparison_id AND compared.settings = :settings ORDER BY fits.id
"""
_KEYS = """
    SELECT evidence.id, feature, kind, evidence.settings FROM evidence
    WHERE run_id IN (SELECT value FROM json_each(:run_ids)) AND feature IN (SELECT value FROM json_each(:features))
"""


def begin_comparison(db: Database, identity: ComparisonIdentity) -> int:
    """The comparison of that identity, made if there is none."""
    key = {**identity.model_dump(include={"run_id", "corpus_id"}), "settings": _canonical(identity.settings)}
    return _id_of(db, "comparisons", key) or insert(db, "comparisons", {**key, "created": now()})


def add_fits(db: Database, comparison_id: int, setting: ProbeSettings, found: Iterable[FitRow]) -> None:
    """Stores how well a setting fits some features, in the place of what was known of that."""
    key = {"comparison_id": comparison_id, "settings": _text(setting)}
    compared_id = _id_of(db, "compared", key) or insert(db, "compared", {**key, "created": now()})
    for fit in found:
        place = [compared_id, fit.feature, fit.measure, fit.texts_of]
        db.execute("DELETE FROM fits WHERE compared_id = ? AND feature = ? AND measure = ? AND texts_of = ?", place)
        insert(db, "fits", {"compared_id": compared_id, **vars(fit)})


def comparisons(db: Database, fingerprint: str | None = None) -> list[ComparisonRow]:
    """The comparisons of a subject, or all, the latest first."""
    return [_comparison(row) for row in rows(db, _COMPARISONS, {"fingerprint": fingerprint})]


def compared(db: Database, comparison_id: int) -> list[ProbeSettings]:
    """The settings that a comparison has, the first compared first."""
    sql = "SELECT settings FROM compared WHERE comparison_id = :comparison_id ORDER BY created, id"
    return [
        ProbeSettings.model_validate_json(row["settings"]) for row in rows(db, sql, {"comparison_id": comparison_id})
    ]


def fits(db: Database, comparison_id: int, setting: ProbeSettings) -> list[FitRow]:
    """Returns a comparison's fits of a setting."""
    values = {"comparison_id": comparison_id, "settings": _text(setting)}
    return [made(FitRow, row) for row in rows(db, _FITS, values)]


def newest_fit(db: Database) -> int:
    """A number that is another one once any fit was kept or replaced."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM fits").fetchone()[0])


def labelled(db: Database, fingerprint: str, features: Collection[int], apart: Collection[str]) -> list[Labelled]:
    """The latest labels of some of a subject's features; runs of explainers that stand `apart` are left out."""
    values = {"fingerprint": fingerprint, "features": json.dumps([*features]), "apart": json.dumps([*apart])}
    return [Labelled(row["feature"], row["run_id"], row["status"], row["label"]) for row in rows(db, _LABELLED, values)]


def evidence_keys(db: Database, run_ids: Sequence[int], features: Collection[int]) -> list[EvidenceKey]:
    """Returns the keys of these runs' evidence of these features, less that of versions that did not know every
    setting.
    """
    known: dict[str, ProbeSettings | None] = {}
    values = {"run_ids": json.dumps([*run_ids]), "features": json.dumps([*features])}
    found = []
    for row in rows(db, _KEYS, values):
        text = row["settings"]
        if text not in known:
            known[text] = _if_complete(text)
        if (settings := known[text]) is not None:
            key = {"evidence_id": row["id"], "feature": row["feature"], "kind": row["kind"], "settings": settings}
            found.append(made(EvidenceKey, key))
    return found


def evidence_by_id(db: Database, ids: Collection[int]) -> dict[int, Evidence]:
    """The evidence itself."""
    sql = "SELECT * FROM evidence WHERE id IN (SELECT value FROM json_each(:ids))"
    return {
        row["id"]: codec.decode(
            row["kind"], row["feature"], ProbeSettings.model_validate_json(row["settings"]), row["payload"]
        )
        for row in rows(db, sql, {"ids": json.dumps([*ids])})
    }


def add_recommendation(
    db: Database, fingerprint: str, comparison_id: int, settings: ProbeSettings, because: str
) -> None:
    """Stores the recommendation for a subject from here on, once however often it is given; earlier ones stay."""
    row = {"fingerprint": fingerprint, "comparison_id": comparison_id, "settings": _text(settings), "because": because}
    found = recommendation(db, fingerprint)
    if found is None or (found.comparison_id, found.settings, found.because) != (comparison_id, settings, because):
        insert(db, "recommendations", {**row, "created": now()})


def recommendation(db: Database, fingerprint: str) -> Recommendation | None:
    """The latest one for a subject."""
    sql = "SELECT * FROM recommendations WHERE fingerprint = :fingerprint ORDER BY created DESC, id DESC LIMIT 1"
    for row in rows(db, sql, {"fingerprint": fingerprint}):
        del row["id"]
        return made(Recommendation, row | {"settings": ProbeSettings.model_validate_json(row["settings"])})
    return None


def _id_of(db: Database, table: str, key: Mapping[str, Any]) -> int | None:
    where = " AND ".join(f"{column} = ?" for column in key)
    found = db.execute(f"SELECT id FROM {table} WHERE {where}", [*key.values()]).fetchone()
    return None if found is None else int(found[0])


def _if_complete(text: str) -> ProbeSettings | None:
    """The settings, where every one of them is named: what a default was when they were stored, nobody knows."""
    settings = ProbeSettings.model_validate_json(text)
    return settings if settings.model_dump(mode="json") == json.loads(text) else None


def _comparison(row: dict[str, Any]) -> ComparisonRow:
    values = {"settings": json.loads(row["settings"]), "subject": SubjectCard.model_validate_json(row["subject"])}
    del row["title"]  # for whoever browses the file
    return made(ComparisonRow, {"comparison_id": row.pop("id"), **row | values})


def _text(settings: ProbeSettings) -> str:
    """The same for equal settings."""
    return _canonical(settings.model_dump(mode="json"))


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
