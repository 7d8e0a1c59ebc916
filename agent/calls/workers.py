"""Works through items with a bounded number of tasks, until none is left or the run is told to stop.

Stopping starts nothing new: what is in flight is answered, logged and used.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from agent.calls.admission import Admission
from agent.calls.interrupt import interruptible
from agent.errors import InterruptError, StoppedError
from probes.errors import InterpretError

T = TypeVar("T")

Handle = Callable[[T], Awaitable[None]]


async def work_through(
    items: Sequence[T],
    size: int,
    handle: Handle[T],
    admission: Admission,
    stopping: Callable[[InterpretError], None],
) -> None:
    """Runs at most `size` workers that take items from one iterator; memory does not grow with the number of items.

    An event that ends a run (an InterpretError of an item, Ctrl-C) becomes the admission's reason and is passed to
    `stopping`; a second Ctrl-C cancels the calls in flight. Any other exception is raised.
    """
    waiting = iter(items)

    def stop(reason: InterpretError) -> None:
        if admission.reason is None:
            admission.stop(reason)
            stopping(reason)

    workers = [asyncio.create_task(_worker(waiting, handle, admission, stop)) for _ in range(min(size, len(items)))]

    def abandon() -> None:
        for worker in workers:
            worker.cancel()

    with interruptible(lambda: stop(InterruptError("Interrupted.")), abandon):
        try:
            await asyncio.gather(*workers)
        except BaseException as error:
            abandon()
            await asyncio.gather(*workers, return_exceptions=True)
            if admission.reason is None or not isinstance(error, asyncio.CancelledError):
                raise


async def _worker(
    waiting: Iterator[T], handle: Handle[T], admission: Admission, stop: Callable[[InterpretError], None]
) -> None:
    for item in waiting:
        if admission.reason is not None:
            return
        try:
            await handle(item)
        except StoppedError:
            return
        except InterpretError as error:
            stop(error)
            return
