"""Follows batches at their provider: finds them again, polls until they end, reads their results into the log.

Everything needed to go on is in the log, so that any process can take over.
"""

import asyncio
from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agent.calls.admission import Admission
from agent.errors import BatchWaitError, ExplainerError
from agent.llm.base import Answer, AnswerForm, CallFault, Exchange, Request
from agent.llm.batching import BatchApi, BatchExplainer, BrokenResultsError, ProviderBatch, ResultLine, results_of
from agent.llm.bodies import at, items_at, json_of, text_at
from agent.llm.faults import Failure
from agent.llm.wire import WireReply
from agent.log.batches import BatchRow, WaitingCall, end_batch, known_ids, note_batch_sent, unanswered, unmake_batch
from agent.log.calls import end_call
from agent.log.run_log import RunLog
from probes.doors.given import whole_number

GOES_ON = "run the same command to continue"
NOT_MADE = 400
"""HTTP status of calls that no provider has processed, and that cost nothing."""
_GONE = (404, 410)
_AT_A_TIME = 200
"""Number of result lines that are logged at a time before their calls go on."""
_MAX_PAGES = 50
_KEPT = timedelta(days=29)
"""Time for which results can be fetched, by the provider that keeps them for less time."""
_CLOCKS_S = 300.0
"""Maximum seconds by which a provider's clock may be behind ours."""


@dataclass(frozen=True)
class Pace:
    """Waiting times for batches, in seconds."""

    gather_s: float = 1.0
    """A batch is sent once no new question has come for this long."""
    first_look_s: float = 5.0
    """Wait before the first poll of a batch; grows by half at each poll."""
    longest_look_s: float = 60.0
    unseen_s: float = 600.0
    """Time for which a created batch may be unknown to its provider."""
    unlisted_s: float = 60.0
    """Time for which a created batch may be missing from the provider's list."""
    outage_s: float = 3600.0
    """Time without any answer from the provider after which the run stops."""

    def looks(self) -> Iterator[float]:
        """Yields the waits between polls, each longer than the last."""
        wait_s = self.first_look_s
        while True:
            yield wait_s
            wait_s = min(1.5 * wait_s, self.longest_look_s)


PACE = Pace()


class QueueFullError(Exception):
    """The provider's queue is full: the batch was not accepted."""


class _LostError(Exception):
    """The provider no longer has the results."""


@dataclass
class PendingCall:
    """A call whose answer a task waits for."""

    request: Request
    form: AnswerForm
    answered: Future[Answer]


Joined = Mapping[int, PendingCall]
"""Pending calls by their place in the batch."""


@dataclass
class Follower:
    """Follows the batches of one run or scoring."""

    explainer: BatchExplainer
    log: RunLog
    admission: Admission
    wait_s: float | None = None
    """Maximum wait for a batch; None waits until it ends."""
    tell: Callable[[str], None] = lambda _: None
    pace: Pace = PACE
    batching: BatchApi = field(init=False)

    def __post_init__(self) -> None:
        self.batching = self.explainer.batching()

    async def take_up(self, rows: Iterable[BatchRow]) -> None:
        """Completes batches that earlier processes sent. Raises any error that ends a run."""
        tasks = [asyncio.create_task(self._taken_up(row)) for row in rows]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _taken_up(self, row: BatchRow) -> None:
        provider_id = row.provider_id or await self.find(row)
        if provider_id is None:
            await self.close(row, "it never reached the provider")
            return
        await asyncio.wrap_future(self.log.write(note_batch_sent, row.batch_id, provider_id))
        try:
            await self.follow(row, provider_id, {})
        except QueueFullError:
            await self.close(row, "the provider had too much queued")

    async def follow(self, row: BatchRow, provider_id: str, joined: Joined) -> None:
        """Follows a batch until every call has its outcome in the log and every waiting task has its answer."""
        left = self.log.read(unanswered, row.batch_id)
        began_s, looks = _now_s(), self.pace.looks()
        outage = _Outage(self.pace.outage_s)
        while True:
            try:
                batch = await self._looked(row, provider_id, outage)
                if batch is not None and batch.ended and await self._read(batch, row, left, joined, outage):
                    return
            except _LostError:
                why = "the provider keeps results of a batch for 29 days, and this one is older"
                await self.give_back(row, left, joined, Failure(CallFault.TRANSIENT, why), None)
                await asyncio.wrap_future(self.log.write(end_batch, row.batch_id, "lost", why))
                return
            self.check_wait(row, provider_id, began_s)
            await self.admission.sleep(next(looks))

    async def find(self, row: BatchRow) -> str | None:
        """Looks for a batch whose creation was never confirmed; None if it was not created."""
        began_s, looks = _now_s(), self.pace.looks()
        outage = _Outage(self.pace.outage_s)
        others: set[str] = {*self.log.read(known_ids)}
        while True:
            unclear = False
            for batch in await self._listed(row, others, outage):
                mine = await self._is_ours(batch, row)
                if mine:
                    return batch.provider_id
                unclear |= mine is None
                others |= {batch.provider_id} if mine is False else set()
            if unclear:
                self.check_wait(row, None, began_s)
            elif not outage.goes_on and _now_s() - began_s >= self.pace.unlisted_s:
                return None
            await self.admission.sleep(next(looks))

    async def close(self, row: BatchRow, why: str) -> None:
        """Closes a batch that was not created: its calls may be asked again."""
        await asyncio.wrap_future(self.log.write(unmake_batch, row.batch_id, why))

    async def give_back(
        self,
        row: BatchRow,
        calls: Mapping[int, WaitingCall],
        joined: Joined,
        failure: Failure,
        status: int | None,
    ) -> None:
        """Gives many unanswered calls, by place, the same outcome."""
        outcomes = [_Outcome(place, call.call_id, self._failed(row, failure, status)) for place, call in calls.items()]
        await self._settle(joined, outcomes)

    def check_wait(self, row: BatchRow, provider_id: str | None, began_s: float) -> None:
        """Stops the run if a batch has been waited for long enough. Raises StoppedError."""
        if self.wait_s is not None and _now_s() - began_s >= self.wait_s:
            what = f"Batch {provider_id}" if provider_id else "A batch whose sending was interrupted"
            self.admission.stop(
                BatchWaitError(
                    f"{what} is in progress at {row.provider} ({row.n_calls:,} questions, {row.created[:16]} UTC); the "
                    "same command continues when it has ended."
                )
            )
        self.admission.check()

    async def _looked(self, row: BatchRow, provider_id: str, outage: "_Outage") -> ProviderBatch | None:
        """Returns the current state of the batch; None if it cannot be read at the moment."""
        reply = await self.batching.look(provider_id)
        body = json_of(reply.text)
        if reply.failure is None and text_at(body, "id") == provider_id:
            outage.over()
            return self.batching.read(body)
        if reply.status in _GONE and _age_s(row) < self.pace.unseen_s:
            return None
        if reply.status in _GONE and _age_s(row) > _KEPT.total_seconds():
            raise _LostError
        if reply.status in _GONE:
            raise ExplainerError(
                f"{row.provider} knows no batch {provider_id} of {row.created[:16]} UTC ({_told(reply)}); with the key "
                "it was sent with, the same command continues; 29 days after sending it continues without."
            )
        outage.check(reply, f"batch {provider_id}")
        return None

    async def _listed(self, row: BatchRow, others: set[str], outage: "_Outage") -> Sequence[ProviderBatch]:
        """Lists the batches that may be this one, as far back as it may have been created."""
        found: list[ProviderBatch] = []
        after: str | None = None
        for _ in range(_MAX_PAGES):
            reply = await self.batching.page(after)
            if reply.failure is not None:
                outage.check(reply, "the list of batches")
                return found
            outage.over()
            body = json_of(reply.text)
            entries = items_at(body, "data")
            recent = [entry for entry in entries if (_created_s(entry) or 0.0) >= _begun_s(row) - _CLOCKS_S]
            batches = [self.batching.read(entry) for entry in recent]
            found += [one for one in batches if one.provider_id not in others and _may_be(one, row)]
            if not at(body, "has_more") or not recent or len(recent) < len(entries):
                return found
            after = batches[-1].provider_id
        return found

    async def _is_ours(self, batch: ProviderBatch, row: BatchRow) -> bool | None:
        """Recognises our batch by its token, else by its requests' ids, which are visible only once it has ended."""
        if batch.token is not None:
            return batch.token == row.token
        if not batch.ended:
            return None
        try:
            async for line in results_of(self.batching, batch, row.n_calls):
                return _place(line, row) is not None
        except BrokenResultsError:
            return None
        return False

    async def _read(
        self, batch: ProviderBatch, row: BatchRow, left: dict[int, WaitingCall], joined: Joined, outage: "_Outage"
    ) -> bool:
        """Reads results, each line logged before its call goes on; returns True if they were read to the end."""
        if batch.is_full:
            raise QueueFullError
        if batch.refusal is not None:
            await self._refused(batch, row, left, joined)
        elif not await self._read_lines(batch, row, left, joined, outage):
            return False
        if left:
            silent = Failure(CallFault.TRANSIENT, "its batch ended without a result for it")
            await self.give_back(row, left, joined, silent, None)
        await asyncio.wrap_future(self.log.write(end_batch, row.batch_id, "ended"))
        self.tell(f"batch {row.batch_id} has ended: {batch.provider_id}, {row.n_calls:,} questions")
        return True

    async def _read_lines(
        self, batch: ProviderBatch, row: BatchRow, left: dict[int, WaitingCall], joined: Joined, outage: "_Outage"
    ) -> bool:
        found: list[_Outcome] = []
        try:
            async for line in results_of(self.batching, batch, row.n_calls):
                place = _place(line, row)
                if place not in left:
                    continue
                call, one = left.pop(place), joined.get(place)
                schema = one.request.schema if one else None
                found.append(_Outcome(place, call.call_id, self.explainer.answer_to(line, schema, call.form)))
                if len(found) >= _AT_A_TIME:
                    await self._settle(joined, found)
                    found = []
        except BrokenResultsError as error:
            if error.status in _GONE and _age_s(row) > _KEPT.total_seconds():
                raise _LostError from error
            outage.note(str(error))
            return False
        finally:
            await self._settle(joined, found)
        return True

    async def _refused(self, batch: ProviderBatch, row: BatchRow, left: dict[int, WaitingCall], joined: Joined) -> None:
        """Logs the requests that the provider's validation rejected; the other requests are asked again."""
        assert batch.refusal is not None
        other = Failure(CallFault.TRANSIENT, f"{batch.refusal.sentence}, because of another question in the batch")
        spared = other if batch.refused_lines else batch.refusal
        outcomes = [
            _Outcome(place, call.call_id, self._failed(row, batch.refused_lines.get(place, spared), NOT_MADE))
            for place, call in left.items()
        ]
        await self._settle(joined, outcomes)
        left.clear()

    async def _settle(self, joined: Joined, outcomes: Sequence["_Outcome"]) -> None:
        """Writes answers to the log, then hands them to the waiting tasks."""
        await asyncio.gather(
            *(asyncio.wrap_future(self.log.write(end_call, one.call_id, one.answer)) for one in outcomes)
        )
        for outcome in outcomes:
            one = joined.get(outcome.place)
            if one is not None and not one.answered.done():
                one.answered.set_result(outcome.answer)

    def _failed(self, row: BatchRow, failure: Failure, status: int | None) -> Answer:
        exchange = Exchange(
            provider=row.provider,
            model=self.explainer.model,
            response="",
            error=failure.sentence,
            fault=failure.fault,
            status=status,
            batch=True,
        )
        return Answer(None, exchange)


@dataclass(frozen=True)
class _Outcome:
    """The outcome of one call of a batch."""

    place: int
    call_id: int
    answer: Answer


@dataclass
class _Outage:
    """Time since a provider last answered."""

    longest_s: float
    began_s: float | None = None

    @property
    def goes_on(self) -> bool:
        return self.began_s is not None

    def over(self) -> None:
        self.began_s = None

    def check(self, reply: WireReply, what: str) -> None:
        """Raises ExplainerError if waiting cannot help."""
        if reply.failure is not None and reply.failure.fault is CallFault.FATAL:
            raise ExplainerError(f"The provider was asked for {what}: {_told(reply)}; {GOES_ON}.")
        self.note(f"{what}: {_told(reply)}")

    def note(self, told: str) -> None:
        """Raises ExplainerError if the outage has lasted too long."""
        self.began_s = _now_s() if self.began_s is None else self.began_s
        if _now_s() - self.began_s > self.longest_s:
            raise ExplainerError(f"The provider has not answered for {self.longest_s:.0f} s ({told}); {GOES_ON}.")


def custom_id(row: BatchRow, place: int) -> str:
    """Returns a request's id in a batch: at most 64 letters, digits and hyphens.

    It holds no id of the log, which importing may change while the batch is at its provider.
    """
    return f"{row.token}-{place}"


def _place(line: ResultLine, row: BatchRow) -> int | None:
    token, _, number = line.custom_id.rpartition("-")
    return whole_number(number) if token == row.token else None


def _may_be(batch: ProviderBatch, row: BatchRow) -> bool:
    """Returns False if anything in the batch's description shows that it is another one."""
    if batch.token is not None:
        return batch.token == row.token
    return batch.n_requests == row.n_calls


def _created_s(entry: object) -> float | None:
    """Parses a batch's creation time, as either provider writes it, to seconds since the epoch."""
    told = at(entry, "created_at")
    if isinstance(told, int | float):
        return float(told)
    try:
        return datetime.fromisoformat(str(told)).timestamp()
    except ValueError:
        return None


def _begun_s(row: BatchRow) -> float:
    begun = datetime.fromisoformat(row.created)
    return (begun if begun.tzinfo else begun.replace(tzinfo=UTC)).timestamp()


def _age_s(row: BatchRow) -> float:
    return datetime.now(UTC).timestamp() - _begun_s(row)


def _told(reply: WireReply) -> str:
    return reply.failure.sentence.rstrip(".") if reply.failure else "a response that is no batch"


def _now_s() -> float:
    return asyncio.get_running_loop().time()
