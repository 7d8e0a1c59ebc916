"""Answers that the log has to a question word for word the same, asked by another run or scoring.

An answer is one draw of a model: no run or scoring is given one twice, however often it asks the same.
"""

from sqlite_utils import Database

from agent.llm.base import Request
from agent.store.rows import Dispatch
from agent.store.table import rows, update
from agent.store.writing import begin_call

QUESTIONS_COLUMNS = """
ALTER TABLE calls ADD COLUMN question TEXT;      -- sha256 of all that decides an answer; NULL where it was not kept
ALTER TABLE calls ADD COLUMN cached INTEGER NOT NULL DEFAULT 0;     -- 1: by an earlier call's answer, at no cost
CREATE INDEX calls_question ON calls (question) WHERE question IS NOT NULL;
"""
"""A migration's text: it stays as it is."""

_HERE = "run_id = :run_id AND scoring_id IS :scoring_id"
_DRAWN = f"""
    SELECT answer, form, resolved_model FROM calls
    WHERE question = :question AND answer IS NOT NULL AND NOT cached AND NOT ({_HERE})
    ORDER BY id LIMIT 1 OFFSET (SELECT count(*) FROM calls WHERE question = :question AND cached AND {_HERE})
"""


def has_draw(db: Database, run_id: int, request: Request, question: str) -> bool:
    """Tells whether another run or scoring has an answer to that question that this one was not given yet."""
    return next(rows(db, _DRAWN, _values(run_id, request, question)), None) is not None


def take_draw(db: Database, run_id: int, request: Request, dispatch: Dispatch) -> bool:
    """Logs such an answer as this request's own; False where there is none any more."""
    found = next(rows(db, _DRAWN, _values(run_id, request, dispatch.question or "")), None)
    if found is None:
        return False
    call_id = begin_call(db, run_id, request, dispatch, None, None)
    row = {"answer": found["answer"], "form": found["form"], "resolved_model": found["resolved_model"], "cached": 1}
    nothing = {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0, "reserved_tokens": 0, "reserved_usd": 0.0}
    update(db, "calls", row | nothing | {"duration_ms": 0.0}, {"id": call_id})
    return True


def _values(run_id: int, request: Request, question: str) -> dict[str, object]:
    return {"run_id": run_id, "scoring_id": request.scoring_id, "question": question}
