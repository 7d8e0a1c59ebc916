"""What takes a while to count, kept until the log changes. Knows no page."""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from agent.runlog import RunLog
from agent.store.browsing import version

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 256
"""Answers kept; the oldest go first."""


class Cache:
    """Answers about one log. Any thread may ask."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._known: dict[Hashable, tuple[int, Any]] = {}
        self._asking = Lock()

    def __call__(self, make: Callable[Concatenate[RunLog, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `make` returns for the log and the arguments, made anew where the log has changed since."""
        key = (make, args, tuple(kwargs.items()))
        with self._asking:
            now = self._log.ask(version)
            if key not in self._known or self._known[key][0] != now:
                self._known[key] = (now, make(self._log, *args, **kwargs))
                if len(self._known) > _MOST:
                    del self._known[next(iter(self._known))]
            found: T = self._known[key][1]
            return found
