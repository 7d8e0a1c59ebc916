"""Ctrl-C while a run goes on: the first time it starts nothing new, the second time it ends at once.

Knows no run: it is told what either means.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """While it lasts, Ctrl-C calls `first`, then `second`, on the running event loop.

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
