"""Batches of calls: reserved before the provider hears of them, found again by their token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from agent.llm.base import AnswerForm, CallFault, Request
from agent.log.calls import Dispatch, begin_call
from agent.log.rows import insert, made, now, select, update

BatchStatus = Literal["reserved", "sent", "ended", "unmade", "lost"]

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
    """In the order of its calls, which is that of their places."""


@dataclass(frozen=True)
class WaitingCall:
    """A call of a batch of which nothing has come."""

    call_id: int
    form: AnswerForm


def begin_batch(
    db: Database, run_id: int, scoring_id: int | None, provider: str, token: str, calls: Sequence[Packed]
) -> Reserved:
    """Keeps a batch and its calls that are about to be sent; should nothing follow, the provider is asked for it."""
    values = {"run_id": run_id, "scoring_id": scoring_id, "token": token, "provider": provider}
    begun = {"status": "reserved", "n_calls": len(calls), "created": now()}
    batch_id = insert(db, "batches", {**values, **begun})
    call_ids = [_placed(db, run_id, batch_id, place, call) for place, call in enumerate(calls)]
    (row,) = _batches(db, "id = :batch_id", batch_id=batch_id)
    return Reserved(row, call_ids)


def note_batch_sent(db: Database, batch_id: int, provider_id: str) -> None:
    """Keeps what the provider calls a batch that it has."""
    update(db, "batches", {"status": "sent", "at_provider": provider_id}, {"id": batch_id})


def end_batch(db: Database, batch_id: int, status: BatchStatus, note: str | None = None) -> None:
    """Keeps that nothing more is to be expected of a batch."""
    update(db, "batches", {"status": status, "ended": now(), "note": note}, {"id": batch_id})


def unmake_batch(db: Database, batch_id: int, why: str) -> None:
    """Keeps that a batch was not accepted: its calls have cost nothing, and may go into another one."""
    nothing = {"fault": CallFault.TRANSIENT, "error": why, "reserved_tokens": 0, "reserved_usd": 0.0}
    update(db, "calls", nothing, {"batch_id": batch_id, "fault": CallFault.WAITING})
    end_batch(db, batch_id, "unmade", why)


def open_batches(db: Database, run_id: int, scoring_id: int | None = None) -> list[BatchRow]:
    """Returns the batches whose answers are not in the log, oldest first: of a run's loops, or of a scoring."""
    where = "run_id = :run_id AND scoring_id IS :scoring_id AND status IN ('reserved', 'sent')"
    return _batches(db, where, run_id=run_id, scoring_id=scoring_id)


def batches_of(db: Database, run_id: int | None = None) -> list[BatchRow]:
    """Returns the batches of a run, or all of them, oldest first."""
    return _batches(db, ":run_id IS NULL OR run_id = :run_id", run_id=run_id)


def unanswered(db: Database, batch_id: int) -> dict[int, WaitingCall]:
    """Returns the calls of a batch of which nothing has come, by their places."""
    sql = "SELECT batch_place, id, form FROM calls WHERE batch_id = :batch_id AND fault = :fault AND response = ''"
    found = select(db, sql, batch_id=batch_id, fault=CallFault.WAITING)
    return {int(row["batch_place"]): WaitingCall(int(row["id"]), AnswerForm(row["form"])) for row in found}


def known_ids(db: Database) -> frozenset[str]:
    """Returns every batch's id at its provider."""
    found = select(db, "SELECT at_provider FROM batches WHERE at_provider IS NOT NULL")
    return frozenset(row["at_provider"] for row in found)


def _placed(db: Database, run_id: int, batch_id: int, place: int, call: Packed) -> int:
    if call.call_id is None:
        return begin_call(db, run_id, call.request, call.dispatch, CallFault.WAITING, _WAITING, batch_id, place)
    bound = call.dispatch.bound
    again = {"fault": CallFault.WAITING, "error": _WAITING, "batch_id": batch_id, "batch_place": place}
    reserved = {"reserved_tokens": bound.tokens, "reserved_usd": bound.cost_usd}
    update(db, "calls", again | reserved, {"id": call.call_id})
    return call.call_id


def _batches(db: Database, where: str, **values: Any) -> list[BatchRow]:
    return [made(BatchRow, row) for row in select(db, f"{_BATCHES} WHERE {where} ORDER BY id", **values)]
