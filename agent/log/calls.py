"""Calls to explainers and judges: reserved before they are sent, concluded, counted; rows in, values out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from agent.llm.base import Answer, AnswerForm, Bound, CallFault, Request
from agent.log.rows import first, insert, made, now, select, update
from agent.log.texts import shared_text

_CALLS = """
    SELECT calls.*, texts.text AS system FROM calls JOIN texts ON texts.id = calls.system_id
    WHERE run_id = :run_id AND feature = :feature {} ORDER BY calls.id
"""
_AT = "AND round = :round AND purpose = :purpose AND item = :item AND scoring_id IS :scoring_id"
_SPENT = """
    SELECT count(*) AS calls, coalesce(sum(input_tokens + output_tokens), 0) AS tokens, sum(cost_usd) AS cost_usd,
        coalesce(sum(coalesce(input_tokens + output_tokens, reserved_tokens)), 0) AS most_tokens,
        coalesce(sum(coalesce(cost_usd, reserved_usd)), 0.0) AS most_usd
    FROM calls WHERE run_id = :run_id AND scoring_id IS :scoring_id
"""
_FAULTS = """
    SELECT fault, count(*) AS n, error, max(created || printf(' %020d', id)) FROM calls
    WHERE run_id = :run_id AND fault IS NOT NULL GROUP BY fault ORDER BY n DESC
"""
_HERE = "run_id = :run_id AND scoring_id IS :scoring_id"
_DRAWN = f"""
    SELECT answer, form, resolved_model FROM calls
    WHERE question = :question AND answer IS NOT NULL AND NOT cached AND NOT ({_HERE})
    ORDER BY id LIMIT 1 OFFSET (SELECT count(*) FROM calls WHERE question = :question AND cached AND {_HERE})
"""
_ON_ITS_WAY = "the run was stopped while this call was in flight; no answer was received"


@dataclass(frozen=True)
class Dispatch:
    """To whom a request goes, and the most that it can use."""

    provider: str
    model: str
    form: AnswerForm | None
    bound: Bound
    question: str | None = None
    """sha256 of all that decides the answer; None where that is not kept."""


@dataclass(frozen=True)
class Spent:
    """The tokens and dollars of a run's calls so far, by every invocation of it."""

    calls: int
    tokens: int
    """As far as servers reported them."""
    cost_usd: float | None
    """Sum of the known costs; None where none is known."""
    most_tokens: int
    """With the most that the calls can have used whose figures are unknown."""
    most_usd: float
    """Likewise, of the calls that have a price."""


@dataclass(frozen=True)
class CallRow:
    """One request to an explainer. Unknown figures are None."""

    call_id: int
    feature: int
    round: int
    purpose: str
    item: int
    attempt: int
    provider: str
    model: str
    form: AnswerForm | None
    system: str
    prompt: str
    template: str
    template_hash: str
    response: str
    answer: Mapping[str, Any] | None
    """As parsed; None where `error` says why."""
    resolved_model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cost_usd: float | None
    reserved_tokens: int
    reserved_usd: float | None
    duration_ms: float | None
    fault: CallFault | None
    error: str | None
    created: str
    scoring_id: int | None
    batch_id: int | None = None
    """The batch it was sent in."""
    cached: bool = False
    """Whether an earlier call's answer to the same question answered it, at no cost."""


@dataclass(frozen=True)
class FaultCount:
    """Calls that failed in one way."""

    fault: str
    n: int
    latest: str
    """The error of the last of them."""


def begin_call(
    db: Database,
    run_id: int,
    request: Request,
    dispatch: Dispatch,
    fault: CallFault | None = CallFault.LOST,
    error: str | None = _ON_ITS_WAY,
    batch_id: int | None = None,
    place: int | None = None,
) -> int:
    """Keeps a request that is about to be sent, as it stands should nothing be heard of it again; returns its id."""
    key = _place(run_id, request)
    return insert(
        db,
        "calls",
        {
            **key,
            "attempt": next_attempt(db, key),
            "provider": dispatch.provider,
            "model": dispatch.model,
            "form": dispatch.form,
            "system_id": shared_text(db, "system", request.system),
            "prompt": request.prompt,
            "template": request.template,
            "template_hash": request.template_hash,
            "response": "",
            "reserved_tokens": dispatch.bound.tokens,
            "reserved_usd": dispatch.bound.cost_usd,
            "fault": fault,
            "error": error,
            "batch_id": batch_id,
            "batch_place": place,
            "question": dispatch.question,
            "created": now(),
        },
    )


def end_call(db: Database, call_id: int, answer: Answer) -> None:
    """Keeps the outcome of a request, good or not."""
    exchange = answer.exchange
    row = {
        "response": exchange.response,
        "answer": None if answer.value is None else answer.value.model_dump_json(exclude_defaults=True),
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


def next_attempt(db: Database, call: Mapping[str, Any]) -> int:
    """Returns the number of the next attempt at the question of a row of the table."""
    names = ("run_id", "scoring_id", "feature", "round", "purpose", "item")
    where = " AND ".join(f"{name} IS ?" for name in names)
    (before,) = db.execute(f"SELECT count(*) FROM calls WHERE {where}", [call[name] for name in names]).fetchone()
    return int(before) + 1


def calls_of(db: Database, run_id: int, feature: int) -> list[CallRow]:
    """Returns every attempt of a feature, in the order they were logged."""
    return [_call(row) for row in select(db, _CALLS.format(""), run_id=run_id, feature=feature)]


def attempts_of(db: Database, run_id: int, request: Request) -> list[CallRow]:
    """Returns every attempt at that question, in order; a good one is not asked again, so nothing is paid twice."""
    return [_call(row) for row in select(db, _CALLS.format(_AT), **_place(run_id, request))]


def spent_by(db: Database, run_id: int, scoring_id: int | None = None) -> Spent:
    """Returns what the run's calls have used so far: those of its loops, or those of a scoring."""
    return made(Spent, next(select(db, _SPENT, run_id=run_id, scoring_id=scoring_id)))


def spent_on(db: Database, run_id: int, provider: str, model: str) -> Spent:
    """Returns what the run's loops have used of one explainer."""
    sql = f"{_SPENT} AND provider = :provider AND model = :model"
    return made(Spent, next(select(db, sql, run_id=run_id, scoring_id=None, provider=provider, model=model)))


def was_asked(db: Database, run_id: int, feature: int, purpose: str) -> bool:
    """Tells whether the run has asked a question of that purpose about a feature."""
    sql = "SELECT 1 FROM calls WHERE run_id = ? AND feature = ? AND purpose = ? LIMIT 1"
    return db.execute(sql, [run_id, feature, purpose]).fetchone() is not None


def faults_of(db: Database, run_id: int) -> list[FaultCount]:
    """Counts the faults of a run's calls, the most frequent first."""
    return [FaultCount(row["fault"], row["n"], row["error"] or "") for row in select(db, _FAULTS, run_id=run_id)]


def draw_of(db: Database, run_id: int, request: Request, question: str) -> str | None:
    """Returns the answer, JSON, of another run or scoring to that very question that this one was not given yet.

    An answer is one draw of a model: no run or scoring is given one twice, however often it asks the same.
    """
    found = _drawn(db, run_id, request, question)
    return None if found is None else str(found["answer"])


def take_draw(db: Database, run_id: int, request: Request, dispatch: Dispatch) -> bool:
    """Keeps such an answer as this request's own; False where there is none any more."""
    found = _drawn(db, run_id, request, dispatch.question or "")
    if found is None:
        return False
    call_id = begin_call(db, run_id, request, dispatch, None, None)
    nothing = {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0, "reserved_tokens": 0, "reserved_usd": 0.0}
    update(db, "calls", {**found, **nothing, "cached": 1, "duration_ms": 0.0}, {"id": call_id})
    return True


def _drawn(db: Database, run_id: int, request: Request, question: str) -> dict[str, Any] | None:
    return first(db, _DRAWN, run_id=run_id, scoring_id=request.scoring_id, question=question)


def _place(run_id: int, request: Request) -> dict[str, Any]:
    names = ("feature", "round", "purpose", "item", "scoring_id")
    return {"run_id": run_id, **{name: getattr(request, name) for name in names}}


def _call(row: dict[str, Any]) -> CallRow:
    changed = {
        "answer": row["answer"] and json.loads(row["answer"]),
        "form": row["form"] and AnswerForm(row["form"]),
        "fault": row["fault"] and CallFault(row["fault"]),
        "cached": bool(row["cached"]),
    }
    for name in ("run_id", "system_id", "question", "batch_place"):
        del row[name]
    return made(CallRow, {"call_id": row.pop("id"), **row | changed})
