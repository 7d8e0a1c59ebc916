"""Handles Ctrl-C while reading: the first one ends it in good order, the second at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stoppable(told: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Yields a test if Ctrl-C was pressed; the first one calls `told`, another one raises KeyboardInterrupt.

    On the main thread only, as signals are.
    """
    pressed: list[int] = []

    def press(number: int, _frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)
        told()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
