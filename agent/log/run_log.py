"""An open run log, and the one door to it: functions of this package, run on its database.

One thread writes, in transactions that group what is waiting, and a write's future resolves when it would survive a
power cut; reading goes through a connection of its own and never waits for a run.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlite_utils import Database

from agent.errors import LogError
from agent.log import runs
from agent.log.locking import RunLock, is_held
from agent.log.merging import Merged, merge
from agent.log.opening import (
    check_readable,
    journal_note,
    log_errors,
    one_transaction,
    open_readable,
    open_writable,
    snapshot,
)
from agent.log.runs import RunIdentity, RunRow
from agent.log.writer import Writer

P = ParamSpec("P")
T = TypeVar("T")

_REVIEW_WAIT_S = 5.0
"""A reviewer waits for a run's transaction, of which each takes a fraction of a second, but not for ever."""


class RunLog:
    """An open log. Every method raises `LogError` where the file is at fault; any thread may call any of them."""

    def __init__(self, path: Path, reader: Database, writer: Writer | None, note: str | None) -> None:
        """Use `RunLog.open`."""
        self.path = path
        self.journal_note = note
        """A sentence for the user where the file system forbids SQLite's usual journal, else None."""
        self._reader = reader
        self._reading = Lock()
        self._writer = writer
        self._locks: dict[tuple[str, int], RunLock] = {}

    @classmethod
    def open(cls, path: Path, read_only: bool = False) -> Self:
        """Opens the log at `path`, made if there is none, unless `read_only`.

        Raises `LogError` for a file that is not a log, is damaged, of another version, or cannot be read or written
        here; such a file is left as it is.
        """
        if read_only:
            check_readable(path)
            return cls(path, open_readable(path), None, None)
        db = open_writable(path)
        note = journal_note(db, path)
        return cls(path, open_readable(path), Writer(db, str(path)), note)

    @classmethod
    def merge(cls, path: Path, others: Sequence[Path]) -> list[Merged]:
        """Brings what other logs hold into the one at `path`, made if there is none: from all of them or from none.

        Raises `LogError` for a log that cannot be read or is `path` itself, and where another process writes a run
        that one of theirs is part of.
        """
        with ExitStack() as stack:
            for other in others:
                if path.exists() and other.exists() and path.samefile(other):
                    raise LogError(f"{other} is the log that would be written to; name another log to import.")
            sources = [(other, stack.enter_context(snapshot(other))) for other in others]
            log = stack.enter_context(cls.open(path))
            return log.write(log._merge, sources).result()

    def read(self, query: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns the answer to a question of this package."""
        with self._reading, log_errors(self.path):
            return query(self._reader, *args, **kwargs)

    def write(self, action: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queues a change, all of it or nothing; its future resolves once that is on disk."""
        if self._writer is None:
            raise LogError(f"The log {self.path} was opened for reading only.")
        return self._writer.submit(lambda db: action(db, *args, **kwargs))

    def write_at_once(self, action: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Makes a change in a short transaction of its own: while a run writes, and if the log is open for reading.

        Raises `LogError`, and nothing is kept, where the log stays locked.
        """
        with one_transaction(self.path, _REVIEW_WAIT_S) as db:
            return action(db, *args, **kwargs)

    def begin_run(self, identity: RunIdentity, features: Sequence[int], new: bool = False) -> RunRow:
        """Begins a run, or resumes or extends the latest one of the same identity, and holds it until `close`.

        A feature that failed counts as not done. Raises `LogError` if another process is writing that run.
        """
        return self.write(self._begin, identity, features, new).result()

    def hold_scoring(self, scoring_id: int) -> None:
        """Holds a scoring until `close`. Raises `LogError` if another process does."""
        self._hold("scoring", scoring_id)

    def is_held(self, run_id: int) -> bool:
        """Tells whether a process is writing that run now."""
        return is_held(self.path, run_id)

    def close(self) -> None:
        """Writes what is queued, frees the runs and closes the file. Raises `LogError` if any write has failed."""
        with self._reading:
            self._reader.close()  # before the writer: the last to leave clears the journal away, and a reader cannot
        if self._writer is not None:
            self._writer.close()
        for lock in self._locks.values():
            lock.release()
        if self._writer is not None:
            self._writer.raise_fault()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes; a fault of the log does not hide the error that ended the block."""
        try:
            self.close()
        except LogError:
            if error is None:
                raise

    # What is locked is locked within the transaction: of two processes that begin one run at once, one is refused, and
    # leaves nothing behind.
    def _begin(self, db: Database, identity: RunIdentity, features: Sequence[int], new: bool) -> RunRow:
        row = runs.begin_run(db, identity, features, new)
        self._hold("run", row.run_id)
        return row

    def _merge(self, db: Database, sources: Sequence[tuple[Path, Database]]) -> list[Merged]:
        merged = [merge(db, source, other) for other, source in sources]
        for run_id in frozenset().union(*(one.joined for one in merged)):
            self._hold("run", run_id)
        return merged

    def _hold(self, what: str, number: int) -> None:
        if (what, number) not in self._locks:
            self._locks[what, number] = RunLock(self.path, number, what)
