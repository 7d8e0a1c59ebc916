"""Gathers questions of all features into batches; one is sent when it is full or when every task waits.

A batch is logged before it is sent, and its creation is never retried blindly: if it is uncertain that the batch was
created, the provider is asked for it first.
"""

import asyncio
import secrets
from asyncio import Future
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self, TypeVar

from agent.calls.crew import Crew
from agent.calls.following import GOES_ON, NOT_MADE, Follower, PendingCall, QueueFullError, custom_id
from agent.errors import ExplainerError, StoppedError
from agent.llm.base import Answer, AnswerForm, Request
from agent.llm.bodies import json_of
from agent.llm.faults import Failure
from agent.log.batches import (
    BatchRow,
    Packed,
    begin_batch,
    end_batch,
    note_batch_sent,
    unanswered,
    unmake_batch,
)
from agent.log.calls import Dispatch

T = TypeVar("T")

_CUSTOM_ID_BYTES = 40
_UNCERTAIN = (None, 408, 409)
"""Statuses, besides 500 and above, that leave open if a batch was created."""
_NO_ROOM = "the provider had too much queued"
_MAX_WAIT_S = 600.0
"""Maximum wait before a batch is sent again for which the provider had no room."""


@dataclass
class _QueueEntry(PendingCall):
    """A question in the queue for a batch."""

    dispatch: Dispatch
    size: int
    """Size in bytes."""
    call_id: int | None = None
    """Call id, if the question was part of a batch that was not created."""


class BatchSender:
    """Sends an asker's requests in batches; a context that ends when none of its batches is being followed."""

    def __init__(self, follower: Follower, run_id: int, scoring_id: int | None, most: int) -> None:
        """Puts at most `most` questions into one batch."""
        self._follower = follower
        self._run_id = run_id
        self._scoring_id = scoring_id
        self._limits = follower.batching.limits
        self._largest = self._most = min(most, self._limits.requests)
        self._crew = Crew()
        self._queue: deque[_QueueEntry] = deque()
        self._asked = 0
        """Number of questions so far."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._crowded = False
        """True after the provider had no room: batches then go one after the other."""
        self._holds_until_s = 0.0
        self._wait_s = follower.pace.first_look_s
        self._abandoned = False
        """True once the context was cancelled: batches are then not followed to their end."""
        self._dispatcher: asyncio.Task[None] | None = None

    def at_work(self, handle: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
        """Wraps `handle` so that a batch waits for every item that may still ask."""
        return self._crew.at_work(handle)

    def asking(self) -> AbstractContextManager[None]:
        """Marks the current item as waiting for an answer while the context lasts."""
        return self._crew.asking()

    async def send(self, request: Request, dispatch: Dispatch) -> Answer:
        """Returns the answer from the batch that the request went in. Raises any error that ends a run."""
        self._follower.admission.check()
        form = dispatch.form or AnswerForm.TEXT
        size = len(self._follower.batching.encoded("", request, form)) + _CUSTOM_ID_BYTES
        answered: Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append(_QueueEntry(request, form, answered, dispatch, size))
        self._asked += 1
        try:
            return await answered
        except asyncio.CancelledError:
            self._abandoned = True
            raise

    async def __aenter__(self) -> Self:
        self._dispatcher = asyncio.create_task(self._dispatch())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._dispatcher is not None
        self._dispatcher.cancel()
        for task in self._under_way if kind is not None or self._abandoned else ():
            task.cancel()
        await asyncio.gather(self._dispatcher, *self._under_way, return_exceptions=True)

    async def _dispatch(self) -> None:
        """Sends batches as soon as they are due, until cancelled."""
        asked = 0
        try:
            while True:
                await asyncio.sleep(self._follower.pace.gather_s)
                self._follower.admission.check()
                quiet, asked = asked == self._asked, self._asked
                while self._queue and self._has_room() and (self._is_full() or (quiet and self._crew.is_idle)):
                    self._start(self._taken())
        except StoppedError as error:
            _fail(self._queue, error)

    def _has_room(self) -> bool:
        """Returns True if another batch may be sent to the provider now."""
        return _now_s() >= self._holds_until_s and not (self._crowded and self._under_way)

    def _is_full(self) -> bool:
        """Returns True if the questions so far fill a batch."""
        return len(self._queue) >= self._most or sum(one.size for one in self._queue) >= self._limits.bytes

    def _taken(self) -> list[_QueueEntry]:
        """Takes from the head of the queue as many questions as a batch may hold, at least one."""
        taken = [self._queue.popleft()]
        size = taken[0].size
        while self._queue and len(taken) < self._most and size + self._queue[0].size < self._limits.bytes:
            taken.append(self._queue.popleft())
            size += taken[-1].size
        return taken

    def _start(self, some: Sequence[_QueueEntry]) -> None:
        task = asyncio.create_task(self._conduct(some))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _conduct(self, some: Sequence[_QueueEntry]) -> None:
        """Conducts one batch from its budget reservation to its last answer."""
        try:
            row = await self._reserved(some)
            try:
                await self._made_and_followed(row, some)
            except QueueFullError:
                await asyncio.wrap_future(self._follower.log.write(unmake_batch, row.batch_id, _NO_ROOM))
                self._follower.admission.check()  # once the run is stopped, nobody sends what waits for room
                self._make_room(some)
            else:
                self._regrow()
        except Exception as error:
            _fail(some, error)

    async def _reserved(self, some: Sequence[_QueueEntry]) -> BatchRow:
        """Logs the batch and its questions, in the order in which they are sent."""
        calls = [Packed(one.request, one.dispatch, one.call_id) for one in some]
        log, provider = self._follower.log, self._follower.explainer.provider
        token = f"sae{secrets.token_hex(8)}"
        begun = log.write(begin_batch, self._run_id, self._scoring_id, provider, token, calls)
        reserved = await asyncio.wrap_future(begun)
        for call_id, one in zip(reserved.call_ids, some, strict=True):
            one.call_id = call_id
        return reserved.row

    async def _made_and_followed(self, row: BatchRow, some: Sequence[_QueueEntry]) -> None:
        provider_id = await self._made(row, some)
        if provider_id is None:
            return
        log = self._follower.log
        await asyncio.wrap_future(log.write(note_batch_sent, row.batch_id, provider_id))
        self._follower.tell(f"batch {row.batch_id} is sent: {provider_id}, {row.n_calls:,} questions")
        await self._follower.follow(row, provider_id, dict(enumerate(some)))

    async def _made(self, row: BatchRow, some: Sequence[_QueueEntry]) -> str | None:
        """Creates the batch; returns the provider's id, or None if it was rejected, as its questions are told."""
        batching = self._follower.batching

        def encode() -> list[bytes]:
            return [batching.encoded(custom_id(row, n), one.request, one.form) for n, one in enumerate(some)]

        encoded = await asyncio.to_thread(encode)
        began_s = _now_s()
        for wait_s in self._follower.pace.looks():
            reply = await batching.create(row.token, encoded)
            body = json_of(reply.text)
            if reply.failure is None and isinstance(body, dict) and (found := batching.read(body).provider_id):
                return found
            if reply.status == 429 or (reply.status == 413 and len(some) > 1):
                raise QueueFullError
            if reply.failure is not None and not _is_uncertain(reply.status):
                await self._turned_down(row, some, reply.failure)
                return None
            missed = await self._follower.find(row)
            if missed is not None:
                return missed
            if _now_s() - began_s > self._follower.pace.outage_s:
                told = reply.failure.sentence if reply.failure else "a response that is no batch"
                raise ExplainerError(f"The provider does not take a batch ({told}); {GOES_ON}.")
            await self._follower.admission.sleep(wait_s)
        raise AssertionError("waits never end")

    async def _turned_down(self, row: BatchRow, some: Sequence[_QueueEntry], failure: Failure) -> None:
        log, joined = self._follower.log, dict(enumerate(some))
        await self._follower.give_back(row, log.read(unanswered, row.batch_id), joined, failure, NOT_MADE)
        await asyncio.wrap_future(log.write(end_batch, row.batch_id, "unmade", failure.sentence))

    def _make_room(self, some: Sequence[_QueueEntry]) -> None:
        """Puts questions back at the head of the queue, to be sent when the pending batches have ended.

        If no other batch of ours is pending, they go later and in smaller batches.
        """
        if len(self._under_way) == 1:
            self._most = max(1, min(self._most, len(some)) // 2)
            self._holds_until_s = _now_s() + self._wait_s
            self._wait_s = min(2 * self._wait_s, _MAX_WAIT_S)
        self._crowded = True
        self._queue.extendleft(reversed(some))

    def _regrow(self) -> None:
        """Allows larger batches after one was accepted, and several at a time once they have their full size again."""
        self._most = min(self._most + max(1, self._most // 4), self._largest)
        self._crowded &= self._most < self._largest
        self._wait_s = self._follower.pace.first_look_s


def _is_uncertain(status: int | None) -> bool:
    """Returns True if a response with that status leaves open if the request was carried out."""
    return status in _UNCERTAIN or (status is not None and (status >= 500 or status < 400))


def _fail(some: Iterable[_QueueEntry], error: Exception) -> None:
    for one in some:
        if not one.answered.done():
            one.answered.set_exception(error)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
