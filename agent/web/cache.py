"""Keeps results that take a while to compute until the log that they come from changes."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlite_utils import Database

from agent.log.run_log import RunLog
from agent.log.runs import data_version

P = ParamSpec("P")
T = TypeVar("T")

Version = Callable[[Database], Hashable]
"""Returns a value that changes whenever results that depend on it may change."""

_MAX_ANSWERS = 256
"""Answers kept; the oldest go first."""


@dataclass
class _Answer:
    """One result, with the lock of the thread that computes it."""

    making: Lock = field(default_factory=Lock)
    version: Hashable = None
    """The log's version when it was computed; None while there is no result yet."""
    value: Any = None


class Cache:
    """Results computed from one log. Any thread may ask; a thread waits only for its own result."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._known: dict[Hashable, _Answer] = {}
        self._finding = Lock()

    def __call__(self, make: Callable[Concatenate[RunLog, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns the result of `make` for the log and the arguments, made anew if the log has changed since."""
        return self.until(data_version, make, *args, **kwargs)

    def until(
        self, changed: Version, make: Callable[Concatenate[RunLog, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Returns the result, made anew only if `changed` gives another value, not at every write to the log."""
        answer = self._answer((make, args, tuple(kwargs.items())))
        with answer.making:
            now = self._log.read(changed)
            if answer.version != now:
                answer.value = make(self._log, *args, **kwargs)
                answer.version = now
            found: T = answer.value
            return found

    def _answer(self, key: Hashable) -> _Answer:
        with self._finding:
            found = self._known.setdefault(key, _Answer())
            if len(self._known) > _MAX_ANSWERS:
                del self._known[next(iter(self._known))]
            return found
