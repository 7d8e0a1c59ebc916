"""Workers on this machine: one process for each device."""

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context, parent_process
from typing import Any

import psutil  # type: ignore[import-untyped]

from agent.pool.resident import Loaded, Resident
from agent.pool.workers import Worker, WorkerLostError
from probes.presets import SubjectSource

_RESIDENTS: list[Resident] = []
"""In a worker process its one resident."""


class ProcessWorker:
    """A process that holds a subject on one device; one that has died does not come back."""

    comes_back = False

    def __init__(self, name: str, source: SubjectSource, n_threads: int) -> None:
        self.name = name
        self._source = source
        self._executor = ProcessPoolExecutor(1, get_context("spawn"), _begin, (n_threads,))
        self._process: psutil.Process | None = None
        self._futures: list[Future[Any]] = []

    async def arrive(self) -> None:
        """Starts the process. Raises WorkerLostError."""
        self._process = psutil.Process(await self._run(os.getpid))

    async def load(self) -> Loaded:
        """Loads the subject. Raises WorkerLostError and SubjectError."""
        loaded: Loaded = await self._run(_load, self._source)
        return loaded

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns `function(subject, *arguments)`. Raises what it raises, and WorkerLostError."""
        return await self._run(_call, function, *arguments)

    async def close(self) -> None:
        """Ends the process, at once if it is at work: nobody waits for it."""
        if self._process is not None and not all(future.done() for future in self._futures):
            with suppress(psutil.NoSuchProcess):
                self._process.kill()
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            future = self._executor.submit(function, *arguments)
            self._futures = [*(other for other in self._futures if not other.done()), future]
            return await asyncio.wrap_future(future)
        except BrokenExecutor:
            raise WorkerLostError("its process has ended") from None


class DeviceProcesses:
    """One worker process for each of the devices; a device that is named twice has two."""

    patience_s: float | None = None

    def __init__(self, source: SubjectSource, devices: Sequence[str], n_threads: int) -> None:
        """`n_threads` of the CPU are shared by all of them."""
        self._source = source
        self._devices = devices
        self._n_threads = max(n_threads // len(devices), 1)
        self.n_expected = len(devices)

    async def workers(self) -> AsyncIterator[Worker]:
        """Yields all of them at once."""
        seen: Counter[str] = Counter()
        for device in self._devices:
            seen[device] += 1
            name = device if self._devices.count(device) == 1 else f"{device} ({seen[device]})"
            yield ProcessWorker(name, self._source.model_copy(update={"device": device}), self._n_threads)

    def close(self) -> None:
        """Does nothing: the workers were all there was."""

    def __str__(self) -> str:
        return f"{', '.join(self._devices)}: a process each"


def _begin(n_threads: int) -> None:
    """Makes the process's resident. The process leaves Ctrl-C to the one that started it, and ends when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    _RESIDENTS.append(Resident(n_threads))


def _follow_parent() -> None:
    """Ends the process with its parent, which may be killed: work would else be waited for, for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _load(source: SubjectSource) -> Loaded:
    return _RESIDENTS[0].load(source)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return _RESIDENTS[0].call(function, *arguments)
