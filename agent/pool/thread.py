"""A pool for code without an event loop: its loop runs in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from agent.pool.pool import DEPTH, Pool
from agent.pool.resident import Loaded
from agent.pool.workers import Workforce


class PoolThread:
    """Takes calls as an executor does; a context manager."""

    def __init__(self, workforce: Workforce, like: Loaded, tell: Callable[[str], None] = lambda _: None) -> None:
        """Makes a pool as `Pool` does."""
        self.n_places = DEPTH * workforce.n_expected
        """Number of calls that workers hold at once."""
        self._pool = Pool(workforce, like, tell)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pool", daemon=True)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Returns the future of `function(subject, *arguments)`, computed by a worker; see `Pool.call`."""
        return asyncio.run_coroutine_threadsafe(self._pool.call(function, *arguments), self._loop)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._pool.__aenter__(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the workers; what they have in hand is lost."""
        asyncio.run_coroutine_threadsafe(self._pool.__aexit__(kind, error, trace), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
