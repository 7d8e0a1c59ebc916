"""Asks an explainer: every attempt is on disk before it is sent and before its answer is used.

No question that has a good answer is asked twice. The response to a fault depends on its kind: wait and retry, ask in
another form, say what was wrong with the answer and ask once more, or stop the run.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_random_exponential

from agent.calls.admission import Admission
from agent.calls.questions import Questions
from agent.calls.sending import OneByOne, Sender
from agent.errors import ExplainerError
from agent.evidence.digest import escaped
from agent.llm.base import Answer, AnswerForm, CallFault, Exchange, Explainer, Request, Usage
from agent.llm.batching import BatchExplainer, ResultLine
from agent.log.calls import CallRow, Dispatch, attempts_of, draw_of, end_call, take_draw
from agent.log.run_log import RunLog

ASK_AGAIN = (
    "\n\n# Your last answer could not be used\n\n{error}\n\n"
    "Answer again: one JSON object of the schema, and nothing else."
)
"""Added to a prompt whose answer could not be used."""

_AGAIN = ASK_AGAIN.partition("{")[0]

ERROR_CHARS = 400
"""Maximum characters of an error message that is told to the model: it may quote the answer."""


class AnswerSource(Protocol):
    """Answers a loop's requests: a live explainer, or the log of an earlier run."""

    async def ask(self, request: Request) -> Answer:
        """Returns the answer, or an answer without a value whose exchange says why there is none."""
        ...


@dataclass(frozen=True)
class RetryPolicy:
    """Limits on retries of one question, and on failures in a row before the run stops."""

    attempts: int = 7
    first_wait_s: float = 1.0
    """Upper end of the first random wait; doubled at each further attempt."""
    timeout_growth: float = 2.0
    """Factor by which the timeout grows after a first timeout; a second timeout is final."""
    max_wait_s: float = 60.0
    max_retry_after_s: float = 300.0
    """The run stops if a server asks for a longer wait than this."""
    max_unanswered: int = 5
    """The run stops after this many unanswered questions in a row."""
    max_unusable: int = 20
    """The run stops after this many unusable answers if none was usable before: the model cannot do the task."""


RETRY_POLICY = RetryPolicy()


@dataclass
class _ServerHistory:
    """State learned about a server from its answers so far."""

    forms: Sequence[AnswerForm | None]
    """Answer forms that the server may support, the strictest first."""
    unanswered: int = 0
    """Number of questions given up since the last answer."""
    useless: int = 0
    """Number of questions without a usable answer."""
    good: bool = False
    """True once any answer was usable."""


@dataclass
class Asker:
    """Asks an explainer and logs every call under one run; used from one event loop."""

    explainer: Explainer
    log: RunLog
    run_id: int
    admission: Admission
    retry_policy: RetryPolicy = RETRY_POLICY
    sender: Sender | None = None
    """Sends the requests; None sends each one alone."""
    questions: Questions | None = None
    """Identifies equal questions across runs; without it only this run's own answers are reused from the log."""
    _learned: _ServerHistory = field(init=False)
    _sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self._learned = _ServerHistory(self.explainer.forms or (None,))
        self._sender = self.sender or OneByOne(self.explainer, self.log, self.run_id)

    async def ask(self, request: Request) -> Answer:
        """Returns the usable answer logged for the request, else asks and logs a new one.

        An answer that could not be used is asked for once more, with what was wrong. Raises LogError, StoppedError,
        BudgetError, and ExplainerError where no question would be answered any more.
        """
        with self._sender.asking():
            return await self._answered(request)

    async def _answered(self, request: Request) -> Answer:
        attempts = await self._attempts(request)
        good = good_answer(attempts, request)
        if good is not None:
            return good
        error = _to_be_told(attempts, request)
        if error is None:
            drawn = await self._drawn(request)
            if drawn is not None:
                return drawn
            answer = await self._patiently(request)
            if answer.exchange.fault is not CallFault.UNUSABLE:
                return answer
            error = answer.exchange.error or ""
        answer = await self._patiently(asked_again(request, error))
        self._count_useless(answer.exchange)
        return answer

    async def _attempts(self, request: Request) -> Sequence[CallRow]:
        """Returns every attempt at the question so far, after reading answers of batches that no process waited for."""
        attempts = self.log.read(attempts_of, self.run_id, request)
        unread = [call for call in attempts if call.fault is CallFault.WAITING and call.response]
        if not unread or not isinstance(self.explainer, BatchExplainer):
            return attempts
        for call in unread:
            line = ResultLine("", 200, call.response)
            answer = self.explainer.answer_to(line, request.schema, call.form or AnswerForm.TEXT)
            await asyncio.wrap_future(self.log.write(end_call, call.call_id, answer))
        return self.log.read(attempts_of, self.run_id, request)

    async def _drawn(self, request: Request) -> Answer | None:
        """Copies the answer that another run or scoring got to the same question; None if there is none."""
        questions = self.questions
        if questions is None or not questions.from_log:
            return None
        dispatch = self._dispatch(request, None)
        if self.log.read(draw_of, self.run_id, request, dispatch.question or "") is None:
            return None
        if not await asyncio.wrap_future(self.log.write(take_draw, self.run_id, request, dispatch)):
            return None
        return good_answer(self.log.read(attempts_of, self.run_id, request), request)

    def _dispatch(self, request: Request, form: AnswerForm | None) -> Dispatch:
        question = None if self.questions is None else self.questions.key(request)
        return Dispatch(self.explainer.provider, self.explainer.model, form, self.explainer.bound(request), question)

    async def _patiently(self, request: Request) -> Answer:
        """Asks with retries after transient faults; after a timeout once more, with more time."""
        times_out = 0
        wait = wait_random_exponential(multiplier=self.retry_policy.first_wait_s, max=self.retry_policy.max_wait_s)

        def wait_s(state: RetryCallState) -> float:
            return max(wait(state), _exchange(state).retry_after_s or 0.0)

        async def attempt() -> Answer:
            nonlocal times_out
            answer = await self._in_some_form(
                replace(request, timeout_factor=self.retry_policy.timeout_growth if times_out else 1.0)
            )
            times_out += answer.exchange.timed_out
            return answer

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda answer: answer.exchange.fault is CallFault.TRANSIENT and times_out < 2),
            wait=wait_s,
            stop=stop_after_attempt(self.retry_policy.attempts),
            sleep=self.admission.sleep,
            retry_error_callback=_answer,
        )
        answer: Answer = await retrying(attempt)
        self._count(answer.exchange)
        return answer

    async def _in_some_form(self, request: Request) -> Answer:
        """Asks in the strictest form that the server supports."""
        stricter, *looser = self._learned.forms
        answer = await self._attempt(request, stricter)
        while answer.exchange.fault is CallFault.FORM and looser:
            form, *looser = looser
            answer = await self._attempt(request, form)
            if answer.exchange.fault in (None, CallFault.UNUSABLE):
                self._learned.forms = (form, *looser)
        return answer

    async def _attempt(self, request: Request, form: AnswerForm | None) -> Answer:
        """Sends one request, logged before it is sent and again when it has been answered."""
        dispatch = self._dispatch(request, form)
        async with self.admission.admitted(dispatch.bound) as slot:
            answer = await self._sender.send(request, dispatch)
            slot.exchange = answer.exchange
        self._stop_where_hopeless(answer.exchange)
        return answer

    def _stop_where_hopeless(self, exchange: Exchange) -> None:
        if exchange.fault is CallFault.FATAL:
            raise ExplainerError(f"{(exchange.error or '').rstrip('.')}. Run the same command to continue.")
        asked_s = exchange.retry_after_s or 0.0
        if exchange.fault is CallFault.TRANSIENT and asked_s > self.retry_policy.max_retry_after_s:
            raise ExplainerError(
                f"The server asks for a pause of {asked_s:.0f} s ({exchange.error}); "
                "run the same command after that to continue."
            )

    def _count(self, exchange: Exchange) -> None:
        """Stops the run after too many unanswered questions in a row: the fault is then not in the questions."""
        self._learned.good |= exchange.fault is None
        if exchange.fault is not CallFault.TRANSIENT and exchange.charged:
            self._learned.unanswered = 0
            return
        self._learned.unanswered += 1
        if self._learned.unanswered >= self.retry_policy.max_unanswered:
            self.admission.stop(
                ExplainerError(
                    f"The last {self._learned.unanswered} questions were not answered, despite retries "
                    f"({exchange.error}); run the same command to continue."
                )
            )

    def _count_useless(self, exchange: Exchange) -> None:
        """Stops the run if the model has never given a usable answer, each having been asked for twice."""
        self._learned.useless += exchange.fault is CallFault.UNUSABLE
        if self._learned.useless >= self.retry_policy.max_unusable and not self._learned.good:
            self.admission.stop(
                ExplainerError(
                    f"None of {self._learned.useless} questions got a usable answer ({exchange.error}); "
                    "choose another model with --llm. Run the same command to continue."
                )
            )


def good_answer(attempts: Sequence[CallRow], request: Request) -> Answer | None:
    """Returns the first usable answer among a question's logged attempts, as it was.

    A loop's question is known by its key alone: its prompt is made of evidence whose last digits may differ from one
    device to another. A scoring's is made of what the log holds, so that another prompt is another question.
    """
    for call in attempts:
        if call.answer is not None and (request.scoring_id is None or _is_same(call, request)):
            return _as_logged(call, request)
    return None


def last_answer(attempts: Sequence[CallRow], request: Request) -> Answer | None:
    """Returns the usable answer among the attempts, else the last one; None if there is none."""
    good = good_answer(attempts, request)
    return _as_logged(attempts[-1], request) if good is None and attempts else good


def asked_again(request: Request, error: str) -> Request:
    """Returns the request with the error of its last answer appended; its beginning stays, for prompt caches."""
    told = ASK_AGAIN.format(error=escaped(error, ERROR_CHARS))
    return replace(request, prompt=request.prompt + told)


def _is_same(call: CallRow, request: Request) -> bool:
    """Tests if the call asked this question, possibly with the error of an earlier answer appended."""
    told = call.prompt.removeprefix(request.prompt)
    asked = call.prompt == request.prompt or (told != call.prompt and told.startswith(_AGAIN))
    return asked and call.system == request.system


def _as_logged(call: CallRow, request: Request) -> Answer:
    try:
        value = None if call.answer is None else request.schema.model_validate(call.answer)
    except ValidationError as error:
        raise ExplainerError(
            f"The answer of call {call.call_id} does not fit this version ({error.errors()[0]['msg']}); use --new."
        ) from None
    usage = Usage(call.input_tokens, call.output_tokens, call.cache_read_tokens, call.cache_write_tokens)
    exchange = Exchange(
        provider=call.provider,
        model=call.model,
        response=call.response,
        usage=usage,
        cost_usd=call.cost_usd,
        duration_ms=call.duration_ms,
        error=call.error,
        fault=call.fault,
        form=call.form,
        resolved_model=call.resolved_model,
    )
    return Answer(value, exchange)


def _to_be_told(attempts: Sequence[CallRow], request: Request) -> str | None:
    """Returns the error of the last answer if the run was interrupted before it could ask again."""
    answered = [call for call in attempts if call.fault in (CallFault.UNUSABLE, CallFault.FINAL)]
    if answered and answered[-1].fault is CallFault.UNUSABLE and answered[-1].prompt == request.prompt:
        return answered[-1].error
    return None


def _answer(state: RetryCallState) -> Answer:
    assert state.outcome is not None  # tenacity asks after an attempt
    answer: Answer = state.outcome.result()
    return answer


def _exchange(state: RetryCallState) -> Exchange:
    return _answer(state).exchange
