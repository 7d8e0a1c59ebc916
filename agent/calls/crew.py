"""Whether all who are at work wait for answers: then nothing more will be asked until some come.

Knows neither the work nor the questions.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

_ITEM: ContextVar[object | None] = ContextVar("item", default=None)
"""The item that the current task, or the one that began it, works on."""


class Crew:
    """Counts items in hand, and those of them of which a question is waiting. For one event loop."""

    def __init__(self) -> None:
        self._in_hand: set[object] = set()
        self._asking: Counter[object] = Counter()

    @property
    def is_idle(self) -> bool:
        """Whether every item in hand waits for an answer."""
        return all(self._asking[item] for item in self._in_hand)

    def at_work(self, handle: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
        """`handle`, each item of which is in hand until it is done."""

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
        """While it lasts, the item in hand waits for an answer."""
        item = _ITEM.get()
        self._asking[item] += 1
        try:
            yield
        finally:
            self._asking[item] -= 1
