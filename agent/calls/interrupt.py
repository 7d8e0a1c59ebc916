"""Handles Ctrl-C during a run: the first one starts nothing new, the second one ends it at once."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """Calls `first` on the first Ctrl-C and `second` on the second, on the running event loop.

    Off the main thread, and where the event loop cannot handle signals (Windows), Ctrl-C stays what it was.
    """
    waiting = [first, second]

    def pressed() -> None:
        if waiting:
            waiting.pop(0)()

    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        loop.add_signal_handler(signal.SIGINT, pressed)
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
