"""A bounded crew that works through items until there are none, or until the run is to stop.

Stopping starts nothing new: what is in flight is answered, logged and used. Knows neither the items nor what is done
with them.
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
    """At most `size` workers take items from one iterator; memory does not grow with their number.

    What ends a run (an InterpretError of an item, Ctrl-C) becomes the admission's reason and is told to `stopping`; a
    second Ctrl-C cancels what is in flight. A fault of ours is raised.
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
