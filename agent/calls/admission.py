"""Admits calls: within the gate's limit, within the budget, and only until the run is told to stop.

A run stops by starting nothing new: calls in flight are still answered, logged and used.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.calls.budget import SpendingBudget
from agent.calls.gate import Gate
from agent.errors import StoppedError
from agent.llm.base import Bound, CallFault, Exchange
from probes.errors import InterpretError


@dataclass
class Slot:
    """A slot for one call among those in flight."""

    epoch: int
    exchange: Exchange | None = None
    """Set by the caller as soon as the exchange is known."""


class Admission:
    """Admits every call of a run; used from one event loop."""

    def __init__(self, gate: Gate, budget: SpendingBudget) -> None:
        self.gate = gate
        self.budget = budget
        self.reason: InterpretError | None = None
        """The reason to start nothing new; None while the run goes on."""
        self._sleepers: set[asyncio.Future[None]] = set()
        self._queue: deque[asyncio.Future[None]] = deque()

    def stop(self, reason: InterpretError) -> None:
        """Stops the start of anything new; the first reason given is kept."""
        self.reason = self.reason or reason
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        self._wake(len(self._queue))

    def check(self) -> None:
        """Raises `StoppedError` if the run has been told to stop."""
        if self.reason is not None:
            raise StoppedError(str(self.reason))

    async def sleep(self, seconds: float) -> None:
        """Sleeps for `seconds`; raises `StoppedError` as soon as the run is told to stop."""
        self.check()
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.add(sleeper)
        try:
            async with asyncio.timeout(seconds):
                await sleeper
        except TimeoutError:
            return
        finally:
            self._sleepers.discard(sleeper)
        self.check()

    @asynccontextmanager
    async def admitted(self, bound: Bound) -> AsyncIterator[Slot]:
        """Yields a slot for a call of at most that size, as soon as one is free.

        Raises `StoppedError`, and `BudgetError` where the call would not fit even with nothing in flight.
        """
        await self._until_free(bound)
        self.budget.reserve(bound)
        slot = Slot(self.gate.enter())
        try:
            yield slot
        finally:
            self.gate.leave()
            self.budget.settle(bound, slot.exchange)
            if slot.exchange is not None:
                self._learn(slot.epoch, slot.exchange)
            self._wake()

    async def _until_free(self, bound: Bound) -> None:
        """Waits in line: a slot given up wakes only the first waiter, and a waiter that gets a slot wakes the next."""
        first = False
        while True:
            self.check()
            if not self.budget.fits(bound) and not self.gate.in_flight:
                self._wake()
                raise self.budget.refusal(bound)
            if (first or not self._queue) and self.budget.fits(bound) and self.gate.has_room(_now_s()):
                asyncio.get_running_loop().call_soon(self._wake)  # there may be room for another
                return
            await self._turn(first)
            first = True

    async def _turn(self, first: bool) -> None:
        """Waits until woken; a waiter that was first in line stays first."""
        turn = asyncio.get_running_loop().create_future()
        if first:
            self._queue.appendleft(turn)
        else:
            self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._wake()  # whoever is next, should this one have been woken already
            raise

    def _wake(self, n: int = 1) -> None:
        """Wakes the first `n` waiters in line."""
        while self._queue and n:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                n -= 1

    def _learn(self, epoch: int, exchange: Exchange) -> None:
        if exchange.pause_s is not None:
            self._close(exchange.pause_s)
        if exchange.fault is None:
            self.gate.widen()
        elif exchange.throttled and exchange.fault is CallFault.TRANSIENT:
            self.gate.narrow(epoch)
            if exchange.retry_after_s is not None:
                self._close(exchange.retry_after_s)

    def _close(self, seconds: float) -> None:
        """Closes the gate for `seconds`, then lets the first waiter try."""
        self.gate.close_until(_now_s() + seconds)
        asyncio.get_running_loop().call_later(seconds, self._wake)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
