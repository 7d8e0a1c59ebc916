"""Who may send a call, and when: within the gate's limit, within the budget, and not once the run is to stop.

A run stops by starting nothing new: what is in flight is answered, logged and used. Knows no explainer and no log.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.budget import Budget
from agent.errors import StoppedError
from agent.gate import Gate
from agent.llm.base import Bound, Exchange, Fault
from probes.errors import InterpretError


@dataclass
class Place:
    """A call's place among those in flight."""

    epoch: int
    exchange: Exchange | None = None
    """To be set when it is known."""


class Admission:
    """The one door that all calls of a run go through. For one event loop."""

    def __init__(self, gate: Gate, budget: Budget) -> None:
        self.gate = gate
        self.budget = budget
        self.reason: InterpretError | None = None
        """Why nothing new is started; None while the run goes on."""
        self._changed = asyncio.Event()

    def stop(self, reason: InterpretError) -> None:
        """Lets nothing new begin from here on; the first reason stands."""
        self.reason = self.reason or reason
        self._ring()

    def check(self) -> None:
        """Raises `StoppedError` where nothing new is to begin."""
        if self.reason is not None:
            raise StoppedError(str(self.reason))

    async def sleep(self, seconds: float) -> None:
        """Waits that long; raises `StoppedError` as soon as the run is to stop."""
        until = _now_s() + seconds
        while (left := until - _now_s()) > 0:
            self.check()
            await self._change(left)
        self.check()

    @asynccontextmanager
    async def admitted(self, bound: Bound) -> AsyncIterator[Place]:
        """A place in flight for a call of at most that size, as soon as there is one.

        Raises `StoppedError`, and `BudgetError` where the call would not fit even with nothing in flight.
        """
        await self._until_free(bound)
        self.budget.reserve(bound)
        place = Place(self.gate.enter())
        try:
            yield place
        finally:
            self.gate.leave()
            self.budget.settle(bound, place.exchange)
            if place.exchange is not None:
                self._learn(place.epoch, place.exchange)
            self._ring()

    async def _until_free(self, bound: Bound) -> None:
        while True:
            self.check()
            if not self.budget.fits(bound) and not self.gate.in_flight:
                raise self.budget.refusal(bound)
            if self.budget.fits(bound) and self.gate.has_room(_now_s()):
                return
            wait_s = self.gate.opens_at_s - _now_s()
            await self._change(wait_s if wait_s > 0 else None)

    def _learn(self, epoch: int, exchange: Exchange) -> None:
        if exchange.pause_s is not None:
            self.gate.close_until(_now_s() + exchange.pause_s)
        if exchange.fault is None:
            self.gate.widen()
        elif exchange.throttled and exchange.fault is Fault.TRANSIENT:
            self.gate.narrow(epoch)
            if exchange.retry_after_s is not None:
                self.gate.close_until(_now_s() + exchange.retry_after_s)

    async def _change(self, timeout_s: float | None) -> None:
        """Until something has changed, or until the time is over."""
        changed = self._changed
        try:
            async with asyncio.timeout(timeout_s):
                await changed.wait()
        except TimeoutError:
            return

    def _ring(self) -> None:
        """Wakes all who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
