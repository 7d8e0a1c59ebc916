"""Questions to the log, one function each. What they return is complete: no reading stays open."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.llm.base import AnswerForm, CallFault, Request
from agent.llm.none import NONE
from agent.schema import SenseResult, Status
from agent.store import codec
from agent.store.escape import escape
from agent.store.ranges import from_ranges
from agent.store.rows import CallRow, LabelRow, RunIdentity, RunSummary, Spent
from agent.store.table import rows
from agent.store.values import made
from probes.evidence import Evidence
from probes.presets import SubjectCard
from probes.settings import ProbeSettings

_RUNS = """
    SELECT id, status, created, finished, subject, settings, explainer, templates, features,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'labelled') AS n_labelled,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'abstained') AS n_abstained,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'failed') AS n_failed,
        CASE explainer WHEN 'none' THEN
            (SELECT count(DISTINCT feature) FROM evidence WHERE run_id = runs.id) ELSE 0 END AS n_probed,
        (SELECT count(*) FROM calls WHERE run_id = runs.id) AS n_calls,
        (SELECT sum(cost_usd) FROM calls WHERE run_id = runs.id) AS cost_usd
    FROM runs WHERE :run_id IS NULL OR id = :run_id ORDER BY created, id
"""
_CALLS = """
    SELECT calls.*, texts.text AS system FROM calls JOIN texts ON texts.id = calls.system_id
    WHERE run_id = :run_id AND feature = :feature
"""
_SPENT = """
    SELECT count(*) AS calls, coalesce(sum(input_tokens + output_tokens), 0) AS tokens, sum(cost_usd) AS cost_usd,
        coalesce(sum(coalesce(input_tokens + output_tokens, reserved_tokens)), 0) AS most_tokens,
        coalesce(sum(coalesce(cost_usd, reserved_usd)), 0.0) AS most_usd
    FROM calls WHERE run_id = :run_id AND scoring_id IS :scoring_id
"""


def runs(db: Database, run_id: int | None = None) -> list[RunSummary]:
    """Returns that run, or every one, oldest first."""
    return [_run(row) for row in rows(db, _RUNS, {"run_id": run_id})]


def run_ids(db: Database) -> list[int]:
    """The number of every run, oldest first."""
    return [int(row["id"]) for row in rows(db, "SELECT id FROM runs ORDER BY created, id", {})]


def latest_run(db: Database) -> int | None:
    """The run that a command began or resumed last; one that labels nothing only where there is no other."""
    sql = """
        SELECT run_id FROM invocations JOIN runs ON runs.id = run_id
        ORDER BY runs.explainer IN ('compare', 'explore', 'none'), started DESC, invocations.id DESC LIMIT 1
    """
    found = db.execute(sql).fetchone()
    return None if found is None else int(found[0])


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
        conditions.append(matching(search))
        values["search"] = search_words(search)
    return [
        label_row(row)
        for row in rows(db, f"SELECT * FROM labels WHERE {' AND '.join(conditions)} ORDER BY feature", values)
    ]


def calls_of(db: Database, run_id: int, feature: int) -> list[CallRow]:
    """Every attempt of a feature, in the order they were logged."""
    return [_call(row) for row in rows(db, f"{_CALLS} ORDER BY calls.id", {"run_id": run_id, "feature": feature})]


def attempts_of(db: Database, run_id: int, request: Request) -> list[CallRow]:
    """Every attempt at that question, in the order they were logged."""
    key = {name: getattr(request, name) for name in ("feature", "round", "purpose", "item", "scoring_id")}
    sql = f"""{_CALLS} AND round = :round AND purpose = :purpose AND item = :item AND scoring_id IS :scoring_id
        ORDER BY calls.id"""
    return [_call(row) for row in rows(db, sql, {"run_id": run_id, **key})]


def spent(db: Database, run_id: int, scoring_id: int | None) -> Spent:
    """Returns what the run's calls have used so far: those of its loops, or those of a scoring."""
    return made(Spent, next(rows(db, _SPENT, {"run_id": run_id, "scoring_id": scoring_id})))


def evidence_rounds(db: Database, run_id: int, feature: int) -> dict[int, list[Evidence]]:
    """A feature's evidence by round, in the order it was given."""
    sql = "SELECT * FROM evidence WHERE run_id = :run_id AND feature = :feature ORDER BY round, item"
    rounds: dict[int, list[Evidence]] = {}
    for row in rows(db, sql, {"run_id": run_id, "feature": feature}):
        rounds.setdefault(row["round"], []).append(_evidence(row))
    return rounds


def evidence_of(db: Database, run_id: int, feature: int, round: int) -> list[Evidence]:
    """One round's evidence, empty when there is none."""
    sql = "SELECT * FROM evidence WHERE run_id = :run_id AND feature = :feature AND round = :round ORDER BY item"
    return [_evidence(row) for row in rows(db, sql, {"run_id": run_id, "feature": feature, "round": round})]


def done(db: Database, identity: RunIdentity) -> frozenset[int]:
    """The features that the latest run of that identity has labelled or abstained on."""
    run_id = find_run(db, identity)
    return frozenset() if run_id is None else done_in(db, run_id)


def find_run(db: Database, identity: RunIdentity) -> int | None:
    """The latest run of that identity."""
    sql = "SELECT id FROM runs WHERE identity = ? ORDER BY created DESC, id DESC LIMIT 1"
    found = db.execute(sql, [identity.hash]).fetchone()
    return None if found is None else int(found[0])


def done_in(db: Database, run_id: int) -> frozenset[int]:
    """The run's features that were labelled or abstained on; those with evidence where the run asks nobody."""
    rows = db.execute("SELECT feature FROM labels WHERE run_id = ? AND status != 'failed'", [run_id])
    concluded = frozenset(feature for (feature,) in rows.fetchall())
    return concluded | probed_in(db, run_id) if asks_nobody(db, run_id) else concluded


def asks_nobody(db: Database, run_id: int) -> bool:
    """Tells whether the run only probes."""
    return db.execute("SELECT 1 FROM runs WHERE id = ? AND explainer = ?", [run_id, NONE]).fetchone() is not None


def probed_in(db: Database, run_id: int) -> frozenset[int]:
    """The features that the run has evidence on."""
    rows = db.execute("SELECT DISTINCT feature FROM evidence WHERE run_id = ?", [run_id])
    return frozenset(feature for (feature,) in rows.fetchall())


def runs_of(db: Database, subject: SubjectCard) -> dict[int, dict[str, Any]]:
    """The settings of every run of that very subject, on whatever device, by the run's number, latest first."""
    card = subject.model_dump(mode="json", exclude={"device"})
    sql = """SELECT id, subject, settings FROM runs WHERE json_extract(subject, '$.fingerprint') = :fingerprint
        ORDER BY created DESC, id DESC"""
    found = ((row, json.loads(row["subject"])) for row in rows(db, sql, {"fingerprint": subject.fingerprint}))
    return {row["id"]: dict(json.loads(row["settings"])) for row, other in found if card.items() <= other.items()}


def has_evidence(db: Database, run_id: int, feature: int, round: int) -> bool:
    """Tells whether that round was probed."""
    sql = "SELECT 1 FROM evidence WHERE run_id = ? AND feature = ? AND round = ? LIMIT 1"
    return db.execute(sql, [run_id, feature, round]).fetchone() is not None


def matching(search: str, reviewer: str | None = None) -> str:
    """The condition on `labels` for `search`: by words where it has any, else by its very characters, as for `=>`.

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


def search_words(search: str) -> str:
    """Returns the words that `matching` looks for."""
    return _words_of(search) or escape(search.strip())


def _words_of(search: str) -> str:
    """The words of `search`, all of them wanted, each by its beginning; nothing in it is read as query syntax."""
    return " ".join(f'"{word}"*' for word in re.findall(r"[^\W_]+", search))


def _run(row: dict[str, Any]) -> RunSummary:
    changed = {
        "subject": _card(row["subject"]),
        "settings": json.loads(row["settings"]),
        "templates": json.loads(row["templates"]),
        "n_asked": len(from_ranges(row["features"])),
    }
    return made(RunSummary, {"run_id": row.pop("id"), **row | changed})


def _card(text: str) -> dict[str, Any]:
    """A subject's card as it was stored, with all that is told of it. Raises ValueError."""
    card = json.loads(text)
    if not isinstance(card, dict):
        raise ValueError(f"subject={text!r:.80} is no card")
    made(_Told, {name: card.get(name) for name in _Told.__dataclass_fields__})
    found: dict[str, Any] = card
    return found


@dataclass(frozen=True)
class _Told:
    """The facts of a run's subject that lists show."""

    name: str
    hook: str
    fingerprint: str
    n_features: int
    default_scale: float
    neuronpedia: str | None


def label_row(row: dict[str, Any]) -> LabelRow:
    """A row of `labels` as a value."""
    del row["title"]  # for whoever browses the file
    senses = tuple(_sense(sense) for sense in json.loads(row["senses"]))
    changed = {"evidence": tuple(json.loads(row["evidence"])), "senses": senses}
    return made(LabelRow, {"label_id": row.pop("id"), **row, **changed})


def _sense(stored: dict[str, Any]) -> SenseResult:
    return made(SenseResult, {**stored, "evidence": tuple(stored["evidence"])})


def _call(row: dict[str, Any]) -> CallRow:
    del row["run_id"], row["system_id"], row["question"]
    changed = {
        "answer": row["answer"] and json.loads(row["answer"]),
        "form": row["form"] and AnswerForm(row["form"]),
        "fault": row["fault"] and CallFault(row["fault"]),
        "cached": bool(row["cached"]),
    }
    return made(CallRow, {"call_id": row.pop("id"), **row | changed})


def _evidence(row: dict[str, Any]) -> Evidence:
    return codec.decode(row["kind"], row["feature"], ProbeSettings.model_validate_json(row["settings"]), row["payload"])
