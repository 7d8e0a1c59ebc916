"""Tells if every item in progress waits for an answer, so that nothing more will be asked until one comes."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

_ITEM: ContextVar[object | None] = ContextVar("item", default=None)
"""The item that the current task, or the task that started it, works on."""


class Crew:
    """Counts the items in progress and those that wait for an answer; used from one event loop."""

    def __init__(self) -> None:
        self._in_hand: set[object] = set()
        self._asking: Counter[object] = Counter()

    @property
    def is_idle(self) -> bool:
        """Returns True if every item in progress waits for an answer."""
        return all(self._asking[item] for item in self._in_hand)

    def at_work(self, handle: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
        """Wraps `handle` so that each item counts as in progress until it is done."""

        async def handled(item: T) -> None:
            mark = object()
            self._in_hand.add(mark)
            before = _ITEM.set(mark)
            try:
                await handle(item)
            finally:
                _ITEM.reset(before)
                self._in_hand.discard(mark)
                del self._asking[mark]

        return handled

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Marks the current item as waiting for an answer while the context lasts."""
        item = _ITEM.get()
        self._asking[item] += 1
        try:
            yield
        finally:
            self._asking[item] -= 1
