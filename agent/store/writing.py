"""The writer thread's work, one function per kind of write; each runs inside a transaction that it does not end."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from sqlite_utils import Database

from agent.llm.base import Answer, CallFault, Request
from agent.schema import Outcome
from agent.store import codec
from agent.store.escape import escape
from agent.store.provenance import command_line, now, versions
from agent.store.ranges import as_ranges, from_ranges
from agent.store.reading import done_in
from agent.store.rows import Dispatch, RunIdentity
from agent.store.table import Row, insert, update
from probes.evidence import Evidence


def add_run(db: Database, identity: RunIdentity) -> int:
    """A new run, which nothing has been asked of yet."""
    return insert(
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
    insert(
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
    update(db, "runs", {"features": as_ranges(from_ranges(asked).union(features))}, {"id": run_id})
    done = done_in(db, run_id)
    if not done.issuperset(features):
        update(db, "runs", {"status": "unfinished", "finished": None}, {"id": run_id})
    return done


def finish_run(db: Database, run_id: int) -> None:
    """Nothing asked of the run is left to do; an earlier finishing time stands."""
    db.execute("UPDATE runs SET status = 'finished', finished = coalesce(finished, ?) WHERE id = ?", [now(), run_id])


def evidence_rows(run_id: int, feature: int, round: int, evidence: Iterable[Evidence]) -> list[Row]:
    """One round's evidence, in order, as rows of its table."""
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
            "payload": codec.encode(piece),
            "created": now(),
        }
        for item, piece in enumerate(evidence)
    ]


def add_rows(db: Database, table: str, rows: Iterable[Row]) -> None:
    """Rows that are ready."""
    for row in rows:
        insert(db, table, row)


_ON_ITS_WAY = "the run was stopped while this was on its way; no answer was seen"


def begin_call(
    db: Database,
    run_id: int,
    request: Request,
    dispatch: Dispatch,
    fault: CallFault | None = CallFault.LOST,
    error: str | None = _ON_ITS_WAY,
    batch_id: int | None = None,
) -> int:
    """A request that is about to be sent, as it stands should nothing be heard of it again; returns its id."""
    key = {
        "run_id": run_id,
        "feature": request.feature,
        "round": request.round,
        "purpose": request.purpose,
        "item": request.item,
        "scoring_id": request.scoring_id,
    }
    where = " AND ".join(f"{column} IS ?" for column in key)
    (asked_before,) = db.execute(f"SELECT count(*) FROM calls WHERE {where}", [*key.values()]).fetchone()
    return insert(
        db,
        "calls",
        {
            **key,
            "attempt": asked_before + 1,
            "provider": dispatch.provider,
            "model": dispatch.model,
            "form": dispatch.form,
            "system_id": _shared_text(db, request.system),
            "prompt": request.prompt,
            "template": request.template,
            "template_hash": request.template_hash,
            "response": "",
            "reserved_tokens": dispatch.bound.tokens,
            "reserved_usd": dispatch.bound.cost_usd,
            "fault": fault,
            "error": error,
            "batch_id": batch_id,
            "question": dispatch.question,
            "created": now(),
        },
    )


def end_call(db: Database, call_id: int, answer: Answer) -> None:
    """Stores the outcome of a request, good or not."""
    exchange = answer.exchange
    row = {
        "response": exchange.response,
        "answer": None if answer.value is None else answer.value.model_dump_json(),
        "resolved_model": exchange.resolved_model,
        **asdict(exchange.usage),
        "cost_usd": exchange.cost_usd,
        "duration_ms": exchange.duration_ms,
        "fault": exchange.fault,
        "error": exchange.error,
    }
    if not exchange.charged:
        row |= {"reserved_tokens": 0, "reserved_usd": 0.0}
    update(db, "calls", row, {"id": call_id})


def add_label(db: Database, run_id: int, outcome: Outcome) -> None:
    """A feature's outcome. A failed one is replaced and keeps its id; any other one stands (sqlite3.IntegrityError).

    One that was probed and nothing else has its evidence to show for it and no label; what failed before is dropped.
    """
    if outcome.status == "probed":
        _drop_failure(db, run_id, outcome.feature)
        return
    row = {
        **outcome.model_dump(exclude={"feature", "evidence", "senses"}),
        "evidence": json.dumps(outcome.evidence),
        "senses": json.dumps([asdict(sense) for sense in outcome.senses]),
        "created": now(),
    }
    key = {"run_id": run_id, "feature": outcome.feature}
    if update(db, "labels", row, {**key, "status": "failed"}) == 0:
        insert(db, "labels", {**key, **row})


def _drop_failure(db: Database, run_id: int, feature: int) -> None:
    """The row that says a feature failed, unless somebody has said something of it."""
    said = "(SELECT label_id FROM reviews UNION SELECT label_id FROM scores)"
    where = f"run_id = ? AND feature = ? AND status = 'failed' AND id NOT IN {said}"
    db.execute(f"DELETE FROM labels WHERE {where}", [run_id, feature])


def _shared_text(db: Database, text: str) -> int:
    stored = escape(text)
    sha256 = hashlib.sha256(stored.encode()).hexdigest()
    db.execute("INSERT OR IGNORE INTO texts (sha256, text) VALUES (?, ?)", [sha256, stored])
    return int(db.execute("SELECT id FROM texts WHERE sha256 = ?", [sha256]).fetchone()[0])
