"""A pool of workers: each is checked before it works, and what a lost one had in hand is done by the others."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from agent.errors import LostWorkError, NoWorkerError, WorkersError
from agent.pool.resident import Loaded
from agent.pool.workers import Worker, WorkerLostError, Workforce
from probes.doors import brief
from probes.errors import InterpretError

DEPTH = 2
"""Calls that a worker holds at once: one that it works on, and one that waits so that the worker never does."""
LOADING = 4
"""Workers that load the subject at once: disks and networks serve a few faster than all."""
LOSSES = 3
"""Workers that may be lost at work on one call, before the call is held to be what kills them; and times that a worker
may be lost as it loads, before it is given up."""
RETRY_S = 1.0
"""Between attempts to reach a worker that may come back, in seconds."""


@dataclass(eq=False)
class _Place:
    """A worker at work."""

    worker: Worker
    calls: list[object] = field(default_factory=list)
    """Keys of the calls that it holds, the one that it works on first."""
    suspect: object | None = None
    """The call that it worked on when it was lost."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)


class Pool:
    """Calls functions on the subject of whichever worker is idlest; an async context manager."""

    def __init__(self, workforce: Workforce, like: Loaded, tell: Callable[[str], None] = lambda _: None) -> None:
        """Workers have to hold what `like` says, whatever their device. `tell` hears of those that come and are lost.

        A worker of another subject, number format or version ends all work, as does a subject that cannot be loaded.
        """
        self._workforce = workforce
        self._like = like
        self._tell = tell
        self._places: list[_Place] = []
        self._loading = asyncio.Semaphore(LOADING)
        self._waiters: list[asyncio.Future[None]] = []
        self._n_present = 0
        self._workers: list[Worker] = []
        self._over: Exception | None = None
        self._why = ""

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._staff()), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the workers; what they have in hand is lost."""
        self._over = self._over or WorkersError("The workers have been shut down.")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in self._workers), return_exceptions=True)
        self._workforce.close()

    @property
    def n_vacant(self) -> int:
        """The number of calls that workers can be given now."""
        return sum(DEPTH - len(place.calls) for place in self._places)

    async def vacancy(self) -> None:
        """Waits until a worker can be given a call. Raises WorkersError if none is left, or what is wrong with one."""
        while self._over is None and not self.n_vacant:
            await self._change()
        if self._over is not None:
            raise self._over

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns `function(subject, *arguments)`, computed by a worker; all of it is pickled.

        Raises what the function raises, LostWorkError if it seems to be what workers die of, and as `vacancy` does.
        """
        key = object()
        n_lost = 0
        while n_lost < LOSSES:
            await self.vacancy()
            place = min(self._places, key=lambda place: len(place.calls))
            place.calls.append(key)
            try:
                return await place.worker.call(function, *arguments)
            except WorkerLostError as error:
                self._lose(place, error)
                n_lost += place.suspect is key
            finally:
                place.calls.remove(key)
                self._wake()
        raise LostWorkError(f"{LOSSES} workers, one after the other, were lost while they worked on it: {self._why}.")

    def _lose(self, place: _Place, error: WorkerLostError) -> None:
        """Takes a lost worker's place away; it may have been noticed before."""
        if place.suspect is not None:
            return
        place.suspect = place.calls[0]
        place.lost.set()
        self._places.remove(place)
        self._tell(f"Worker {self._lost_words(place.worker, error)}. Its unfinished work goes to the others.")

    def _lost_words(self, worker: Worker, error: WorkerLostError) -> str:
        """Keeps what is known of the latest loss, and returns it."""
        self._why = f"{worker.name}: {error}"
        return self._why

    async def _staff(self) -> None:
        """Employs all workers that come; where no more will and all are lost, the work is over."""
        employed: list[asyncio.Task[None]] = []
        try:
            async for worker in self._workforce.workers():
                self._workers.append(worker)
                employed.append(asyncio.create_task(self._employ(worker)))
            await asyncio.gather(*employed)
        except Exception as error:  # as where a cluster has gone with all its machines
            again = "give the same command again"
            self._end(WorkersError(f"Workers are out of reach: {type(error).__name__}, {brief(error)}; {again}."))
        finally:
            for task in employed:
                task.cancel()
            await asyncio.gather(*employed, return_exceptions=True)
        self._end_without_workers()

    async def _employ(self, worker: Worker) -> None:
        """Lets a worker load and work until it is lost, again and again if it comes back.

        One that is lost time after time as it loads is given up.
        """
        n_in_vain = 0
        while True:
            try:
                await worker.arrive()
                n_in_vain += 1
                await self._work_on(worker)
                n_in_vain = 0
            except WorkerLostError as error:
                words = self._lost_words(worker, error)
                if not worker.comes_back or n_in_vain == LOSSES:
                    self._tell(f"Worker {words}, before it could work; it is given up.")
                    return
            except WorkersError as error:
                self._end(error)
                return
            except Exception as error:
                why = str(error) if isinstance(error, InterpretError) else f"{type(error).__name__}, {brief(error)}."
                self._end(WorkersError(f"Worker {worker.name}: {why}"))
                return
            if not worker.comes_back:
                return
            await asyncio.sleep(RETRY_S)

    async def _work_on(self, worker: Worker) -> None:
        """Returns when the worker is lost. Raises WorkerLostError if it is lost before it has worked."""
        self._n_present += 1
        self._wake()
        try:
            async with self._loading:
                loaded = await worker.load()
            self._check(worker, loaded)
            self._tell(f"Worker {worker.name} is at work on {loaded.device}.")
            place = _Place(worker)
            self._places.append(place)
            self._wake()
            await place.lost.wait()
        finally:
            self._n_present -= 1
            self._wake()

    def _check(self, worker: Worker, loaded: Loaded) -> None:
        """Raises WorkersError if the worker holds something else."""
        for what in ("fingerprint", "dtype", "version"):
            ours, theirs = getattr(self._like, what), getattr(loaded, what)
            if ours != theirs:
                raise WorkersError(
                    f"Worker {worker.name} has another {_WHAT[what]} than this process ({theirs}, not {ours}); give "
                    "all machines the same files and the same installation."
                )

    async def _watch(self) -> None:
        """Ends the work where no worker has been there for as long as the workforce says."""
        while True:
            while self._n_present:
                await self._change()
            try:
                async with asyncio.timeout(self._workforce.patience_s):
                    while not self._n_present:
                        await self._change()
            except TimeoutError:
                self._end_without_workers()
                return

    def _end_without_workers(self) -> None:
        why = f", the last one {self._why}" if self._why else ""
        self._end(NoWorkerError(f"No worker is left{why}; give the same command again."))

    def _end(self, error: Exception) -> None:
        self._over = self._over or error
        self._wake()

    async def _change(self) -> None:
        """Waits until something has changed."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


_WHAT = {"fingerprint": "subject, by its files' fingerprint,", "dtype": "number format", "version": "sae-interpret"}
