"""Keeps results that take a while to compute until the log that they come from changes."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlite_utils import Database

from agent.runlog import RunLog
from agent.store.browsing import version

P = ParamSpec("P")
T = TypeVar("T")

Version = Callable[[Database], int]
"""A number that is another one once the answers that hang on it may be others."""

_MAX_ANSWERS = 256
"""Answers kept; the oldest go first."""


@dataclass
class _Answer:
    """One answer, and who may make it."""

    making: Lock = field(default_factory=Lock)
    version: int | None = None
    """None while there is no answer yet."""
    value: Any = None


class Cache:
    """Answers about one log. Any thread may ask; who waits, waits for the same answer and for no other."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._known: dict[Hashable, _Answer] = {}
        self._finding = Lock()

    def __call__(self, make: Callable[Concatenate[RunLog, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns the result of `make` for the log and the arguments, made anew if the log has changed since."""
        return self.until(version, make, *args, **kwargs)

    def until(
        self, changed: Version, make: Callable[Concatenate[RunLog, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same, made anew only where `changed` gives another number: other writes to the log are no reason to."""
        answer = self._answer((make, args, tuple(kwargs.items())))
        with answer.making:
            now = self._log.ask(changed)
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
