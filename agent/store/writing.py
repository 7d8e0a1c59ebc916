"""What the writer thread does, one function per kind of write; each runs inside a transaction that it does not end."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from agent.llm.base import Answer, Request
from agent.schema import Outcome
from agent.store import codec
from agent.store.escape import escape
from agent.store.provenance import command_line, now, versions
from agent.store.ranges import as_ranges, from_ranges
from agent.store.rows import RunIdentity
from probes.evidence import Evidence

Row = Mapping[str, Any]


def find_run(db: Database, identity: RunIdentity) -> int | None:
    """The latest run of that identity."""
    found = db.execute("SELECT max(id) FROM runs WHERE identity = ?", [identity.hash]).fetchone()[0]
    return None if found is None else int(found)


def add_run(db: Database, identity: RunIdentity) -> int:
    """A new run, which nothing has been asked of yet."""
    return _insert(
        db,
        "runs",
        {
            "identity": identity.hash,
            "status": "unfinished",
            "created": now(),
            "subject_name": identity.subject.name,
            "subject": identity.subject.model_dump_json(),
            "settings": json.dumps(identity.settings),
            "explainer": identity.explainer,
            "templates": json.dumps(identity.templates),
            "features": "",
        },
    )


def add_invocation(db: Database, run_id: int, features: Sequence[int], device: str) -> frozenset[int]:
    """Notes that `features` are asked of the run here and now; returns those of the run that are done."""
    _insert(
        db,
        "invocations",
        {
            "run_id": run_id,
            "started": now(),
            "command": command_line(),
            "features": as_ranges(features),
            "device": device,
            "versions": json.dumps(versions()),
        },
    )
    (asked,) = db.execute("SELECT features FROM runs WHERE id = ?", [run_id]).fetchone()
    _set(db, "runs", {"features": as_ranges(from_ranges(asked).union(features))}, {"id": run_id})
    rows = db.execute("SELECT feature FROM labels WHERE run_id = ? AND status != 'failed'", [run_id])
    done = frozenset(feature for (feature,) in rows.fetchall())
    if not done.issuperset(features):
        _set(db, "runs", {"status": "unfinished", "finished": None}, {"id": run_id})
    return done


def finish_run(db: Database, run_id: int) -> None:
    """Nothing asked of the run is left to do; an earlier finishing time stands."""
    db.execute("UPDATE runs SET status = 'finished', finished = coalesce(finished, ?) WHERE id = ?", [now(), run_id])


def add_evidence(db: Database, run_id: int, feature: int, round: int, evidence: Iterable[Evidence]) -> None:
    """One round's evidence, in order."""
    for item, piece in enumerate(evidence):
        _insert(
            db,
            "evidence",
            {
                "run_id": run_id,
                "feature": feature,
                "round": round,
                "item": item,
                "kind": codec.kind_of(piece),
                "settings": piece.settings.model_dump_json(),
                "n_nodes": codec.size_of(piece),
                "summary": codec.summary_of(piece),
                "payload": codec.encode(piece),
                "created": now(),
            },
        )


def add_call(db: Database, run_id: int, request: Request, answer: Answer, attempt: int) -> None:
    """One attempt, good or not."""
    exchange = answer.exchange
    _insert(
        db,
        "calls",
        {
            "run_id": run_id,
            "feature": request.feature,
            "round": request.round,
            "purpose": request.purpose,
            "item": request.item,
            "attempt": attempt,
            "provider": exchange.provider,
            "model": exchange.model,
            "system_id": _shared_text(db, request.system),
            "prompt": request.prompt,
            "template": request.template,
            "template_hash": request.template_hash,
            "response": exchange.response,
            "proposal": None if answer.proposal is None else answer.proposal.model_dump_json(),
            "input_tokens": exchange.input_tokens,
            "output_tokens": exchange.output_tokens,
            "cost_usd": exchange.cost_usd,
            "duration_ms": exchange.duration_ms,
            "error": exchange.error,
            "created": now(),
        },
    )


def add_label(db: Database, run_id: int, outcome: Outcome) -> None:
    """A feature's outcome. A failed one is replaced and keeps its id; any other one stands (sqlite3.IntegrityError)."""
    row = {
        **outcome.model_dump(exclude={"feature", "evidence"}),
        "evidence": json.dumps(outcome.evidence),
        "created": now(),
    }
    key = {"run_id": run_id, "feature": outcome.feature}
    if _set(db, "labels", row, {**key, "status": "failed"}) == 0:
        _insert(db, "labels", {**key, **row})


def _shared_text(db: Database, text: str) -> int:
    stored = escape(text)
    sha256 = hashlib.sha256(stored.encode()).hexdigest()
    db.execute("INSERT OR IGNORE INTO texts (sha256, text) VALUES (?, ?)", [sha256, stored])
    return int(db.execute("SELECT id FROM texts WHERE sha256 = ?", [sha256]).fetchone()[0])


# Plain statements rather than sqlite-utils' insert, which asks the schema about each row: this is the hot path.
def _insert(db: Database, table: str, row: Row) -> int:
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    cursor = db.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", _storable(row))
    return int(cursor.lastrowid)


def _set(db: Database, table: str, row: Row, where: Row) -> int:
    """Number of rows that were changed."""
    changes = ", ".join(f"{column} = ?" for column in row)
    conditions = " AND ".join(f"{column} = ?" for column in where)
    cursor = db.execute(f"UPDATE {table} SET {changes} WHERE {conditions}", [*_storable(row), *_storable(where)])
    return int(cursor.rowcount)


def _storable(row: Row) -> list[Any]:
    return [escape(value) if isinstance(value, str) else value for value in row.values()]
