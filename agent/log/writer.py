"""The one thread that writes: it owns a connection, and groups what is waiting into transactions."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from sqlite_utils import Database

from agent.errors import LogError
from agent.log.opening import as_log_error, immediate

T = TypeVar("T")

_LONGEST_GROUP_S = 0.25
"""A transaction takes on queued writes this long at most, so that neither their futures nor another run wait longer."""


@dataclass(frozen=True)
class _Write:
    action: Callable[[Database], Any]
    future: Future[Any]


@dataclass(frozen=True)
class _Written:
    """A write that took effect in the open transaction; nobody is told before the commit."""

    future: Future[Any]
    result: Any


class Writer:
    """Runs actions on `db`, one at a time, in the order they were submitted.

    After the first fault every further submission is refused: a log with a hole in it is not carried on. An action that
    raises `LogError` itself has refused, not failed: only its own future hears of it.
    """

    def __init__(self, db: Database, name: str) -> None:
        """`db` belongs to the writer from here on; `name` is what its errors call it."""
        self._db = db
        self._name = name
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._fault: Exception | None = None
        self._closed = False
        self._submitting = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="log-writer", daemon=True)
        self._thread.start()

    def submit(self, action: Callable[[Database], T]) -> Future[T]:
        """Queues `action`; its future resolves once the result is on disk.

        Raises `LogError` after an earlier write failed, or after `close`.
        """
        future: Future[T] = Future()
        # From here on the future cannot be cancelled: a task that is cancelled while it waits must not undo a write.
        future.set_running_or_notify_cancel()
        with self._submitting:
            self.raise_fault()
            if self._closed:
                raise LogError(f"The log {self._name} is closed; open it again to write.")
            self._queue.put(_Write(action, future))
        return future

    def raise_fault(self) -> None:
        """Raises `LogError` if any write has failed so far."""
        if self._fault is not None:
            raise LogError(f"Writing stopped at an earlier fault: {self._fault}") from self._fault

    def close(self) -> None:
        """Writes what is queued, then closes the connection; closing twice does nothing."""
        with self._submitting:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (write := self._queue.get()) is not None:
            self._write_group(write)
        self._db.close()

    def _write_group(self, first: _Write) -> None:
        written: list[_Written] = []
        try:
            with immediate(self._db):
                for write in self._group(first):
                    self._attempt(write, written)
        except Exception as error:
            for future in (first.future, *(done.future for done in written)):
                if not future.done():
                    self._fail(future, error)
            return
        for done in written:
            done.future.set_result(done.result)

    def _group(self, first: _Write) -> Iterator[_Write]:
        yield first
        closing_time = monotonic() + _LONGEST_GROUP_S
        while monotonic() < closing_time:
            try:
                write = self._queue.get_nowait()
            except Empty:
                return
            if write is None:
                self._queue.put(None)
                return
            yield write

    def _attempt(self, write: _Write, written: list[_Written]) -> None:
        """One write in a savepoint of its own: its fault is its own, unless it took the whole transaction down."""
        try:
            with self._db.atomic():
                result = write.action(self._db)
        except Exception as error:
            self._fail(write.future, error)
            if not self._db.conn.in_transaction:
                raise
        else:
            written.append(_Written(write.future, result))

    def _fail(self, future: Future[Any], error: Exception) -> None:
        fault = as_log_error(error, self._name)
        if not isinstance(error, LogError):
            self._fault = self._fault or fault
        future.set_exception(fault)
