"""Questions to the log, one function each. What they return is complete: no reading stays open."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlite_utils import Database

from agent.llm.base import Answer, Exchange
from agent.schema import Proposal, Status
from agent.store import codec
from agent.store.escape import escape, unescape
from agent.store.ranges import from_ranges
from agent.store.rows import CallRow, LabelRow, RunSummary
from probes.evidence import Evidence
from probes.settings import ProbeSettings

_RUNS = """
    SELECT id, status, created, finished, subject, settings, explainer, features,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'labelled') AS n_labelled,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'abstained') AS n_abstained,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'failed') AS n_failed,
        (SELECT count(*) FROM calls WHERE run_id = runs.id) AS n_calls,
        (SELECT sum(cost_usd) FROM calls WHERE run_id = runs.id) AS cost_usd
    FROM runs ORDER BY id
"""
_CALLS = """
    SELECT calls.*, texts.text AS system FROM calls JOIN texts ON texts.id = calls.system_id
    WHERE run_id = :run_id AND feature = :feature
"""


def runs(db: Database) -> list[RunSummary]:
    """Every run, oldest first."""
    return [_run(row) for row in _rows(db, _RUNS, {})]


def latest_run(db: Database) -> int | None:
    """The run that a command began or resumed last."""
    rows = _rows(db, "SELECT run_id FROM invocations ORDER BY id DESC LIMIT 1", {})
    return next((int(row["run_id"]) for row in rows), None)


def labels(
    db: Database,
    run_id: int,
    search: str | None = None,
    status: Status | None = None,
    features: Collection[int] | None = None,
) -> list[LabelRow]:
    """Labels of a run by feature, those that meet every condition given."""
    conditions = ["run_id = :run_id"]
    values: dict[str, Any] = {"run_id": run_id}
    if status is not None:
        conditions.append("status = :status")
        values["status"] = status
    if features is not None:
        conditions.append("feature IN (SELECT value FROM json_each(:features))")
        values["features"] = json.dumps(list(features))
    if search is not None and search.strip():
        conditions.append(_matching(search))
        values["search"] = _words_of(search) or escape(search.strip())
    return [
        _label(row)
        for row in _rows(db, f"SELECT * FROM labels WHERE {' AND '.join(conditions)} ORDER BY feature", values)
    ]


def calls_of(db: Database, run_id: int, feature: int) -> list[CallRow]:
    """Every attempt of a feature, in the order they were logged."""
    return [_call(row) for row in _rows(db, f"{_CALLS} ORDER BY calls.id", {"run_id": run_id, "feature": feature})]


def answer_of(db: Database, run_id: int, feature: int, round: int, purpose: str, item: int) -> Answer | None:
    """The first good answer logged under that key."""
    key = {"run_id": run_id, "feature": feature, "round": round, "purpose": purpose, "item": item}
    sql = f"{_CALLS} AND round = :round AND purpose = :purpose AND item = :item AND proposal IS NOT NULL"
    return next((_answer(_call(row)) for row in _rows(db, f"{sql} ORDER BY calls.id LIMIT 1", key)), None)


def evidence_rounds(db: Database, run_id: int, feature: int) -> dict[int, list[Evidence]]:
    """A feature's evidence by round, in the order it was given."""
    sql = "SELECT * FROM evidence WHERE run_id = :run_id AND feature = :feature ORDER BY round, item"
    rounds: dict[int, list[Evidence]] = {}
    for row in _rows(db, sql, {"run_id": run_id, "feature": feature}):
        rounds.setdefault(row["round"], []).append(_evidence(row))
    return rounds


def evidence_of(db: Database, run_id: int, feature: int, round: int) -> list[Evidence]:
    """One round's evidence, empty when there is none."""
    sql = "SELECT * FROM evidence WHERE run_id = :run_id AND feature = :feature AND round = :round ORDER BY item"
    return [_evidence(row) for row in _rows(db, sql, {"run_id": run_id, "feature": feature, "round": round})]


def _matching(search: str) -> str:
    """The condition for `search`: by words where it has any, else by its very characters, as for `=>`."""
    if _words_of(search):
        return "id IN (SELECT rowid FROM labels_fts WHERE labels_fts MATCH :search)"
    return "(instr(label, :search) OR instr(explanation, :search))"


def _words_of(search: str) -> str:
    """The words of `search`, all of them wanted, each by its beginning; nothing in it is read as query syntax."""
    return " ".join(f'"{word}"*' for word in re.findall(r"[^\W_]+", search))


def _rows(db: Database, sql: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows, read to the end before the first is given out, texts as they were before they were stored."""
    rows = list(db.query(sql, dict(values)))
    return ({name: unescape(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows)


def _run(row: dict[str, Any]) -> RunSummary:
    changed = {
        "subject": json.loads(row["subject"]),
        "settings": json.loads(row["settings"]),
        "n_asked": len(from_ranges(row["features"])),
    }
    return RunSummary(run_id=row.pop("id"), **row | changed)


def _label(row: dict[str, Any]) -> LabelRow:
    return LabelRow(label_id=row.pop("id"), **row | {"evidence": tuple(json.loads(row["evidence"]))})


def _call(row: dict[str, Any]) -> CallRow:
    proposal = row["proposal"] and Proposal.model_validate_json(row["proposal"])
    del row["run_id"], row["system_id"]
    return CallRow(call_id=row.pop("id"), **row | {"proposal": proposal})


def _answer(call: CallRow) -> Answer:
    figures = {
        name: getattr(call, name) for name in ("input_tokens", "output_tokens", "cost_usd", "duration_ms", "error")
    }
    return Answer(call.proposal, Exchange(call.provider, call.model, call.response, **figures))


def _evidence(row: dict[str, Any]) -> Evidence:
    return codec.decode(row["kind"], row["feature"], ProbeSettings.model_validate_json(row["settings"]), row["payload"])
