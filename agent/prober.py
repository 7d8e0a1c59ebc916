"""One device thread that owns torch, fed by a bounded queue that gathers many features' requests into one batch.

Nothing of torch runs on the event loop, and only one batch runs at a time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

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


@dataclass(frozen=True)
class _Job:
    requests: Sequence[ProbeRequest]
    evidence: asyncio.Future[list[Evidence]]


class Prober:
    """Probes for many coroutines at once; an async context manager."""

    def __init__(self, probe: Probe, check: Callable[[], None] = lambda: None) -> None:
        """`probe` answers requests in their order, on the device thread; the prober knows no subject of its own.

        `check` is called before each batch; what it raises is what the batch's features get.
        """
        self._probe = probe
        self._check = check
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(QUEUE)
        self._patience_s = 0.0

    async def __aenter__(self) -> Self:
        self._server = asyncio.create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for the batch on the device, if there is one, and drops what is queued."""
        self._server.cancel()
        await asyncio.gather(self._server, return_exceptions=True)
        self._thread.shutdown(cancel_futures=True)

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """Returns the evidence for `requests`, in their order. Raises any error of probing or of `check`."""
        self._check()
        job = _Job(requests, asyncio.get_running_loop().create_future())
        await self._jobs.put(job)
        return await job.evidence

    async def _serve(self) -> None:
        while True:
            jobs = await self._gather()
            started = time.perf_counter()
            await self._run(jobs)
            self._patience_s = GATHER_SHARE * (time.perf_counter() - started)

    async def _gather(self) -> list[_Job]:
        """Returns the next batch: the first job, all queued ones, and those that come within the wait."""
        jobs = [await self._jobs.get()]
        deadline = time.perf_counter() + self._patience_s
        while sum(len(job.requests) for job in jobs) < BATCH:
            try:
                async with asyncio.timeout(max(deadline - time.perf_counter(), 0)):
                    jobs.append(await self._jobs.get())
            except TimeoutError:
                break
        return jobs

    async def _run(self, jobs: Sequence[_Job]) -> None:
        """Runs a batch. If it fails, its jobs run one by one, so that only the faulty ones fail."""
        live = [job for job in jobs if not job.evidence.done()]
        try:
            self._check()
            found = await self._on_device([request for job in live for request in job.requests])
        except Exception as error:
            if len(live) == 1:
                live[0].evidence.set_exception(error)
                return
            for job in live:
                await self._run([job])
            return
        for job in live:
            mine, found = found[: len(job.requests)], found[len(job.requests) :]
            if not job.evidence.done():  # its feature may have been cancelled meanwhile
                job.evidence.set_result(mine)

    async def _on_device(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._probe, requests)
