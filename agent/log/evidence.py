"""Evidence by run, feature and round: rows in, values out."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sqlite_utils import Database

from agent.log import codec
from agent.log.rows import Row, decompressed, insert, made, now, select, some
from agent.log.texts import pack_text, shared_text
from probes.evidence import Evidence
from probes.settings import ProbeKind, ProbeSettings

_PIECE = """
    SELECT evidence.*, settings.text AS settings, dictionaries.text AS dictionary
    FROM evidence JOIN texts AS settings ON settings.id = settings_id
    JOIN texts AS dictionaries ON dictionaries.id = dictionary_id
"""
_SETTINGS = 256
"""Settings held in memory: a log has few, and each row of evidence refers to some."""
_KEYS = """
    SELECT evidence_id, feature, kind, settings FROM evidence_summed
    WHERE run_id IN (SELECT value FROM json_each(:run_ids)) AND feature IN (SELECT value FROM json_each(:features))
"""
_KEPT = """
    SELECT feature, round, settings, created FROM evidence_summed WHERE run_id = :run_id AND item = 0
    ORDER BY created DESC, evidence_id DESC LIMIT :most
"""
_SAMPLE = """
    SELECT feature, rounds, evidence FROM labels WHERE id IN (
        SELECT id FROM labels WHERE run_id = :run_id AND status = 'labelled'
        ORDER BY feature % :stride, feature LIMIT :most
    ) ORDER BY feature
"""
_LISTS = """
    SELECT feature, payload, text AS dictionary FROM evidence JOIN texts ON texts.id = dictionary_id
    WHERE run_id = :run_id AND round = 1 AND evidence.kind = 'tokens' AND feature IN (
        SELECT feature FROM labels WHERE run_id = :run_id ORDER BY feature % :stride, feature LIMIT :most
    )
"""
_PIECES = """
    SELECT feature, round, kind, settings FROM evidence_summed
    WHERE run_id = :run_id AND feature IN (SELECT value FROM json_each(:features)) ORDER BY feature, round, item
"""


@dataclass(frozen=True)
class EvidenceKey:
    """The key of a piece of evidence in the log, without the evidence."""

    evidence_id: int
    feature: int
    kind: ProbeKind
    settings: ProbeSettings


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


def evidence_rows(run_id: int, feature: int, round: int, pieces: Iterable[Evidence]) -> list[Row]:
    """Encodes one round's evidence, in order, for `add_evidence`: here, so that other writes do not wait for that."""
    return [
        {
            "run_id": run_id,
            "feature": feature,
            "round": round,
            "item": item,
            "kind": codec.kind_of(piece),
            "settings": piece.settings.model_dump_json(),
            "n_nodes": codec.size_of(piece),
            "summary": codec.summary_of(piece),
            "device": piece.device or None,
            "payload": codec.encode(piece),
            "created": now(),
        }
        for item, piece in enumerate(pieces)
    ]


def add_evidence(db: Database, rows: Iterable[Row]) -> None:
    """Keeps evidence, all of it or nothing."""
    for row in rows:
        insert(db, "evidence", packed_row(db, row))


def packed_row(db: Database, row: Row) -> Row:
    """Returns a row of `evidence_rows` as the table has it: settings by reference, the payload compressed."""
    kept = {name: value for name, value in row.items() if name != "settings"}
    settings_id = shared_text(db, "settings", row["settings"])
    return {**kept, "settings_id": settings_id, **pack_text(db, row["kind"], row["payload"])._asdict()}


def has_evidence(db: Database, run_id: int, feature: int, round: int) -> bool:
    """Tells whether that round was probed."""
    sql = "SELECT 1 FROM evidence WHERE run_id = ? AND feature = ? AND round = ? LIMIT 1"
    return db.execute(sql, [run_id, feature, round]).fetchone() is not None


def evidence_of(db: Database, run_id: int, feature: int, round: int) -> list[Evidence]:
    """Returns one round's evidence as it was stored, empty when there is none."""
    return evidence_rounds(db, run_id, feature, round).get(round, [])


def evidence_rounds(db: Database, run_id: int, feature: int, round: int | None = None) -> dict[int, list[Evidence]]:
    """Returns a feature's evidence by round, of one or all, in the order it was given."""
    wanted = "" if round is None else "AND round = :round"
    sql = f"{_PIECE} WHERE run_id = :run_id AND feature = :feature {wanted} ORDER BY round, item"
    rounds: dict[int, list[Evidence]] = {}
    for row in select(db, sql, run_id=run_id, feature=feature, round=round):
        rounds.setdefault(row["round"], []).append(evidence_in(row))
    return rounds


def evidence_keys(db: Database, run_ids: Sequence[int], features: Collection[int]) -> list[EvidenceKey]:
    """Returns the keys of these runs' evidence of these features, less that of versions that did not know every
    setting.
    """
    known: dict[str, ProbeSettings | None] = {}
    found = []
    for row in select(db, _KEYS, run_ids=some(run_ids), features=some(features)):
        text = row["settings"]
        if text not in known:
            known[text] = _if_complete(text)
        if (settings := known[text]) is not None:
            found.append(made(EvidenceKey, row | {"settings": settings}))
    return found


def evidence_by_id(db: Database, ids: Collection[int]) -> dict[int, Evidence]:
    """Returns the evidence with those ids."""
    sql = f"{_PIECE} WHERE evidence.id IN (SELECT value FROM json_each(:ids))"
    return {row["id"]: evidence_in(row) for row in select(db, sql, ids=some(ids))}


def kept_views(db: Database, run_id: int, most: int) -> list[KeptView]:
    """Returns the evidence kept while exploring, the latest first."""
    found = select(db, _KEPT, run_id=run_id, most=most)
    return [made(KeptView, row | {"settings": ProbeSettings.model_validate_json(row["settings"])}) for row in found]


def rested(db: Database, run_id: int, n_labels: int, most: int) -> list[Rested]:
    """Returns at most `most` of a run's labels with what they cite, spread evenly over its features."""
    stride = max(1, -(-n_labels // most))
    labels = list(select(db, _SAMPLE, run_id=run_id, stride=stride, most=most))
    pieces: dict[int, list[LoggedPiece]] = {label["feature"]: [] for label in labels}
    for row in select(db, _PIECES, run_id=run_id, features=some(pieces)):
        pieces[row["feature"]].append(LoggedPiece(row["round"], row["kind"], row["settings"]))
    return [
        Rested(label["feature"], label["rounds"], tuple(json.loads(label["evidence"])), pieces[label["feature"]])
        for label in labels
    ]


def list_p_values(db: Database, run_id: int, n_done: int, most: int) -> list[float]:
    """Returns the p-value of a feature's first list of tokens, the smallest of several, for at most `most` of a run's
    features, spread evenly; of lists that were compared with random directions.
    """
    found: dict[int, float] = {}
    for row in select(db, _LISTS, run_id=run_id, stride=max(1, -(-n_done // most)), most=most):
        p_value = codec.p_value_of(decompressed(row["payload"], row["dictionary"]))
        if p_value is not None:
            found[row["feature"]] = min(p_value, found.get(row["feature"], 1.0))
    return [*found.values()]


def evidence_in(row: Row) -> Evidence:
    """Decodes a row of the table with the two texts that it refers to, `settings` and `dictionary`."""
    settings = _settings(row["settings"])
    payload = decompressed(row["payload"], row["dictionary"])
    found = codec.decode(row["kind"], row["feature"], settings, payload)
    return replace(found, device=row["device"] or "")


@lru_cache(_SETTINGS)
def _settings(text: str) -> ProbeSettings:
    return ProbeSettings.model_validate_json(text)


def _if_complete(text: str) -> ProbeSettings | None:
    """Returns the settings, if every one is named: what a default was when they were stored, nobody knows."""
    settings = ProbeSettings.model_validate_json(text)
    return settings if settings.model_dump(mode="json") == json.loads(text) else None
