"""The batches of one run or scoring: batches that earlier commands sent are completed first, in any mode."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self, TypeVar

from agent.calls import following
from agent.calls.admission import Admission
from agent.calls.budget import SpendingBudget
from agent.calls.following import Follower
from agent.calls.gathering import BatchSender
from agent.calls.interrupt import interruptible
from agent.config import RunConfig
from agent.errors import InterruptError, StoppedError
from agent.llm.base import Explainer
from agent.llm.batching import BatchExplainer
from agent.log.batches import open_batches
from agent.log.run_log import RunLog
from probes.errors import InterpretError

T = TypeVar("T")

Handle = Callable[[T], Awaitable[None]]


@dataclass
class Batches:
    """Context that first completes all pending batches, and on exit waits until none is being followed."""

    config: RunConfig
    explainer: Explainer
    log: RunLog
    admission: Admission
    run_id: int
    scoring_id: int | None
    budget: Callable[[], SpendingBudget]
    """Returns the spending so far, as logged."""
    tell: Callable[[str], None]
    sender: BatchSender | None = field(init=False, default=None)
    """Sends questions in batches; None if they go one by one."""
    _follower: Follower | None = field(init=False, default=None)
    _stack: AsyncExitStack = field(init=False, default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        if not isinstance(self.explainer, BatchExplainer):
            return
        wait_s, pace = self.config.wait, following.PACE
        self._follower = Follower(self.explainer, self.log, self.admission, wait_s, self.tell, pace)
        if self.config.batch:
            self.sender = BatchSender(self._follower, self.run_id, self.scoring_id, self.config.batch_size)

    def at_work(self, handle: Handle[T]) -> Handle[T]:
        """Wraps `handle` so that a batch waits for every item in progress."""
        return handle if self.sender is None else self.sender.at_work(handle)

    async def __aenter__(self) -> Self:
        """Completes pending batches; an error that ends the run becomes the admission's reason to stop."""
        await self._take_up()
        if self.sender is not None:
            await self._stack.enter_async_context(self.sender)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.__aexit__(*error)  # type: ignore[arg-type]

    async def _take_up(self) -> None:
        rows = self.log.read(open_batches, self.run_id, self.scoring_id)
        if self._follower is None or not rows:
            return
        for row in rows:
            what = row.provider_id or "whether it was sent is looked up"
            self.tell(f"batch {row.batch_id} is taken up: {what}, {row.n_calls:,} questions")
        task = asyncio.create_task(self._follower.take_up(rows))

        def abandon() -> None:
            task.cancel()

        with interruptible(lambda: self.admission.stop(InterruptError("Interrupted.")), abandon):
            try:
                await task
            except StoppedError:
                pass
            except InterpretError as error:
                self.admission.stop(error)
            except asyncio.CancelledError:
                if self.admission.reason is None:
                    raise
        self.admission.budget = self.budget()
