"""Batches of calls: reserved before the provider hears of them, found again by their token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from agent.llm.base import AnswerForm, CallFault, Request
from agent.store.provenance import now
from agent.store.rows import Dispatch
from agent.store.table import insert, rows, update
from agent.store.values import made
from agent.store.writing import begin_call

BatchStatus = Literal["reserved", "sent", "ended", "unmade", "lost"]

BATCHES_TABLE = """
CREATE TABLE batches (                  -- calls sent together, one row per batch, made before the provider is asked
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    scoring_id INTEGER REFERENCES scorings (id),         -- NULL where a loop asks
    token TEXT NOT NULL UNIQUE,         -- by which it is found again: it begins each request's own id
    provider TEXT NOT NULL,
    at_provider TEXT,                   -- its id there; NULL until that was told
    status TEXT NOT NULL CHECK (status IN ('reserved', 'sent', 'ended', 'unmade', 'lost')),
    n_calls INTEGER NOT NULL,
    created TEXT NOT NULL,
    ended TEXT,                         -- when its answers were in the log
    note TEXT,                          -- why it was not made, or is lost
    title TEXT GENERATED ALWAYS AS (provider || ', ' || n_calls || ' calls, ' || substr(created, 1, 10)) VIRTUAL
);
CREATE INDEX batches_run ON batches (run_id, scoring_id, status);
ALTER TABLE calls ADD COLUMN batch_id INTEGER REFERENCES batches (id);
CREATE INDEX calls_batch ON calls (batch_id) WHERE batch_id IS NOT NULL;
"""
"""A migration's text: it stays as it is."""

_BATCHES = """
    SELECT id AS batch_id, run_id, scoring_id, token, provider, at_provider AS provider_id, status, n_calls, created,
        ended, note,
        (SELECT count(*) FROM calls WHERE calls.batch_id = batches.id AND answer IS NOT NULL) AS n_answered,
        (SELECT sum(cost_usd) FROM calls WHERE calls.batch_id = batches.id) AS cost_usd
    FROM batches
"""
_WAITING = "in a batch whose answers are not in the log yet"


@dataclass(frozen=True)
class BatchRow:
    """One batch."""

    batch_id: int
    run_id: int
    scoring_id: int | None
    token: str
    provider: str
    provider_id: str | None
    status: BatchStatus
    n_calls: int
    created: str
    ended: str | None
    note: str | None
    n_answered: int
    """Calls with a usable answer."""
    cost_usd: float | None


@dataclass(frozen=True)
class Packed:
    """A call that goes into a batch."""

    request: Request
    dispatch: Dispatch
    call_id: int | None = None
    """Where it was logged for a batch that was not made."""


@dataclass(frozen=True)
class Reserved:
    """A batch that its provider is about to hear of."""

    row: BatchRow
    call_ids: Sequence[int]
    """In the order of its calls."""


def begin_batch(
    db: Database, run_id: int, scoring_id: int | None, provider: str, token: str, calls: Sequence[Packed]
) -> Reserved:
    """A batch and its calls; should nothing follow, it is looked for at the provider."""
    values = {"run_id": run_id, "scoring_id": scoring_id, "token": token, "provider": provider}
    begun = {"status": "reserved", "n_calls": len(calls), "created": now()}
    batch_id = insert(db, "batches", {**values, **begun})
    call_ids = [_placed(db, run_id, batch_id, call) for call in calls]
    return Reserved(_only(db, batch_id), call_ids)


def note_sent(db: Database, batch_id: int, provider_id: str) -> None:
    """The provider has it, under that id."""
    update(db, "batches", {"status": "sent", "at_provider": provider_id}, {"id": batch_id})


def end_batch(db: Database, batch_id: int, status: BatchStatus, note: str | None = None) -> None:
    """Nothing more is to be expected of it."""
    update(db, "batches", {"status": status, "ended": now(), "note": note}, {"id": batch_id})


def open_batches(db: Database, run_id: int, scoring_id: int | None) -> list[BatchRow]:
    """Returns the batches whose answers are not in the log, oldest first: of a run's loops, or of a scoring."""
    where = "run_id = :run_id AND scoring_id IS :scoring_id AND status IN ('reserved', 'sent')"
    return _batches(db, where, run_id=run_id, scoring_id=scoring_id)


def batches(db: Database, run_id: int | None = None) -> list[BatchRow]:
    """Returns the batches of a run, or all of them, oldest first."""
    return _batches(db, ":run_id IS NULL OR run_id = :run_id", run_id=run_id)


def unanswered(db: Database, batch_id: int) -> dict[int, AnswerForm]:
    """The calls of a batch of which nothing has come, with the form each was asked in."""
    sql = "SELECT id, form FROM calls WHERE batch_id = :batch_id AND fault = :fault AND response = ''"
    found = rows(db, sql, {"batch_id": batch_id, "fault": CallFault.WAITING})
    return {int(row["id"]): AnswerForm(row["form"]) for row in found}


def known_ids(db: Database) -> frozenset[str]:
    """Every batch's id at its provider."""
    found = rows(db, "SELECT at_provider FROM batches WHERE at_provider IS NOT NULL", {})
    return frozenset(row["at_provider"] for row in found)


def _placed(db: Database, run_id: int, batch_id: int, call: Packed) -> int:
    if call.call_id is None:
        return begin_call(db, run_id, call.request, call.dispatch, CallFault.WAITING, _WAITING, batch_id)
    update(db, "calls", {"batch_id": batch_id}, {"id": call.call_id})
    return call.call_id


def _only(db: Database, batch_id: int) -> BatchRow:
    (row,) = _batches(db, "id = :batch_id", batch_id=batch_id)
    return row


def _batches(db: Database, where: str, **values: Any) -> list[BatchRow]:
    return [made(BatchRow, row) for row in rows(db, f"{_BATCHES} WHERE {where} ORDER BY id", values)]
