"""Gathers many features' requests into batches for a device, which is this process's own or a pool of workers.

Nothing of torch runs on the event loop.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from agent.pool.pool import Pool
from probes.evidence import Evidence, ProbeRequest

BATCH = 1024
"""Most requests in one batch, about; the probes bound their own memory within it."""
QUEUE = 256
"""Most features waiting for the device."""
GATHER_SHARE = 0.05
"""Share of the last batch's time that the next one waits for company. Features that went out in one batch come back
within milliseconds of each other, as the log's commits let them go; without it the first to come would go alone."""

Probe = Callable[[Sequence[ProbeRequest]], list[Evidence]]


class EvidenceSource(Protocol):
    """A source of evidence for loops."""

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """The evidence for `requests`, in their order. Raises what probing them raises."""
        ...


class ProbingDevice(Protocol):
    """A maker of evidence, some batches at a time."""

    @property
    def n_vacant(self) -> int:
        """Returns the number of batches that it can be given now."""
        ...

    async def vacancy(self) -> None:
        """Waits until it can be given a batch. Raises what ends all work."""
        ...

    async def run(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """Returns the evidence for a batch, in its order. Raises what probing it raises."""
        ...

    def close(self) -> None:
        """Ends it, once what it has in hand is done."""
        ...


class DeviceThread:
    """One thread of this process that owns torch, for one batch at a time."""

    def __init__(self, probe: Probe) -> None:
        """`probe` answers requests in their order, on the thread."""
        self._probe = probe
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self._free = asyncio.Semaphore()

    @property
    def n_vacant(self) -> int:
        """1 or 0."""
        return int(not self._free.locked())

    async def vacancy(self) -> None:
        """Waits until no batch is running."""
        async with self._free:
            return

    async def run(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """Returns the evidence for a batch, in its order. Raises what probing it raises."""
        async with self._free:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._probe, requests)

    def close(self) -> None:
        """Waits for the batch on the thread, if there is one."""
        self._thread.shutdown(cancel_futures=True)


class DevicePool:
    """The workers of a pool, each with batches of its own."""

    def __init__(self, pool: Pool, probe: Callable[..., list[Evidence]]) -> None:
        """`probe(subject, requests)` answers requests in their order; whoever opened `pool` closes it."""
        self._pool = pool
        self._probe = probe

    @property
    def n_vacant(self) -> int:
        """The number of batches that its workers can be given now."""
        return self._pool.n_vacant

    async def vacancy(self) -> None:
        """Waits until a worker can be given a batch. Raises WorkersError."""
        await self._pool.vacancy()

    async def run(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """Returns the evidence for a batch, in its order. Raises what probing it or `Pool.call` raises."""
        found: list[Evidence] = await self._pool.call(self._probe, [*requests])
        return found

    def close(self) -> None:
        """Leaves the pool to whoever opened it."""


@dataclass(frozen=True)
class _Job:
    requests: Sequence[ProbeRequest]
    evidence: asyncio.Future[list[Evidence]]


class Prober:
    """Probes for many coroutines at once; an async context manager."""

    def __init__(
        self, device: ProbingDevice, check: Callable[[], None] = lambda: None, largest: int | None = None
    ) -> None:
        """`check` is called before each batch; what it raises is what the batch's features get.

        `largest` is the most features in a batch; None: as many as wait.
        """
        self._device = device
        self._check = check
        self._largest = largest
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(QUEUE)
        self._running: set[asyncio.Task[None]] = set()
        self._patience_s = 0.0

    async def __aenter__(self) -> Self:
        self._server = asyncio.create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for the batches on the device, if there are any, and drops what is queued."""
        tasks = [self._server, *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._device.close()

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """Returns the evidence for `requests`, in their order. Raises any error of probing or of `check`."""
        self._check()
        job = _Job(requests, asyncio.get_running_loop().create_future())
        await self._jobs.put(job)
        return await job.evidence

    async def _serve(self) -> None:
        while True:
            first = await self._jobs.get()
            try:
                await self._device.vacancy()
            except Exception as error:
                _fail(first, error)
                continue
            batch = asyncio.create_task(self._timed(await self._gather(first)))
            self._running.add(batch)
            batch.add_done_callback(self._running.discard)
            await asyncio.sleep(0)  # so that the batch has its place before there is another

    async def _gather(self, first: _Job) -> list[_Job]:
        """Returns the next batch: the first job, an even share of the queued ones, and of those that come within the
        wait.
        """
        jobs = [first]
        deadline = time.perf_counter() + self._patience_s
        while sum(len(job.requests) for job in jobs) < BATCH and len(jobs) < self._share(len(jobs)):
            try:
                async with asyncio.timeout(max(deadline - time.perf_counter(), 0)):
                    jobs.append(await self._jobs.get())
            except TimeoutError:
                break
        return jobs

    def _share(self, n_taken: int) -> float:
        """Returns the most features for this batch, so that as many batches as can run now are of one size."""
        n_batches = max(self._device.n_vacant, 1)
        even = math.inf if n_batches == 1 else -(-(n_taken + self._jobs.qsize()) // n_batches)
        return min(even, self._largest or math.inf)

    async def _timed(self, jobs: Sequence[_Job]) -> None:
        started = time.perf_counter()
        await self._run(jobs)
        self._patience_s = GATHER_SHARE * (time.perf_counter() - started)

    async def _run(self, jobs: Sequence[_Job]) -> None:
        """Runs a batch. If it fails, its jobs run one by one, so that only the faulty ones fail."""
        live = [job for job in jobs if not job.evidence.done()]
        try:
            self._check()
            found = await self._device.run([request for job in live for request in job.requests])
        except Exception as error:
            if len(live) == 1:
                _fail(live[0], error)
                return
            for job in live:
                await self._run([job])
            return
        for job in live:
            mine, found = found[: len(job.requests)], found[len(job.requests) :]
            if not job.evidence.done():  # its feature may have been cancelled meanwhile
                job.evidence.set_result(mine)


def _fail(job: _Job, error: Exception) -> None:
    if not job.evidence.done():
        job.evidence.set_exception(error)
