"""Who may send a call, and when."""

import asyncio
import random

import pytest

from agent.calls.admission import Admission
from agent.calls.budget import Limits, SpendingBudget
from agent.calls.gate import Gate
from agent.errors import BudgetError, InterruptError, StoppedError
from agent.llm.base import Bound, CallFault, Exchange, Usage
from tests.fakes import faulty, in_loop, open_door


def used(tokens: int, cost_usd: float | None = None) -> Exchange:
    return Exchange("fake", "m", "", usage=Usage(tokens, 0), cost_usd=cost_usd)


THROTTLED = faulty(CallFault.TRANSIENT, status=429)


class TestBudget:
    @pytest.mark.parametrize("seed", range(20))
    def test_no_order_of_events_exceeds_it(self, seed: int) -> None:
        """Whatever calls turn out to use, up to their bound, and in whatever order they end."""
        chance = random.Random(seed)
        budget = SpendingBudget(Limits(tokens=chance.randrange(5000), usd=chance.random()))
        spent_tokens, spent_usd = 0, 0.0
        in_flight: list[Bound] = []
        for _ in range(400):
            bound = Bound(chance.randrange(1, 400), chance.uniform(0, 0.05))
            if budget.fits(bound):
                budget.reserve(bound)
                in_flight.append(bound)
            if in_flight and chance.random() < 0.6:
                bound = in_flight.pop(chance.randrange(len(in_flight)))
                tokens, usd = chance.randint(0, bound.tokens), chance.uniform(0, bound.cost_usd or 0)
                spent_tokens, spent_usd = spent_tokens + tokens, spent_usd + usd
                budget.settle(bound, used(tokens, usd))
            assert spent_tokens <= (budget.limits.tokens or 0)
            assert spent_usd <= (budget.limits.usd or 0)

    def test_unknown_figures_count_at_their_bound_and_refusals_not_at_all(self) -> None:
        budget, bound = SpendingBudget(), Bound(100, 0.5)
        for exchange in (Exchange("fake", "m", ""), None, THROTTLED, used(30, 0.1)):
            budget.reserve(bound)
            budget.settle(bound, exchange)
        assert (budget.tokens, budget.usd) == (230, pytest.approx(1.1))
        assert (budget.reserved_tokens, budget.reserved_usd) == (0, 0.0)
        assert budget.known_usd == pytest.approx(0.1)

    def test_a_refusal_names_the_limit_and_what_is_spent(self) -> None:
        budget = SpendingBudget(Limits(tokens=100), tokens=80)
        assert "--budget-tokens 100: 80 are used, a call can use 30" in str(budget.refusal(Bound(30)))
        assert "--budget-usd 1: $0.9000 are spent" in str(
            SpendingBudget(Limits(usd=1), usd=0.9).refusal(Bound(30, 0.2))
        )


class TestGate:
    def test_one_round_trip_of_rate_limits_halves_once(self) -> None:
        gate = Gate(64)
        epochs = [gate.enter() for _ in range(64)]
        for epoch in epochs:
            gate.narrow(epoch)
        assert gate.limit == 32
        gate.narrow(gate.enter())
        assert gate.limit == 16

    def test_it_widens_by_one_call_per_round_trip_up_to_the_most(self) -> None:
        gate = Gate(10, limit=0)
        gate.limit = 4
        for _ in range(4):
            gate.widen()
        assert gate.limit == pytest.approx(5, abs=0.2)
        for _ in range(1000):
            gate.widen()
        assert gate.limit == 10

    def test_it_never_closes_for_good(self) -> None:
        gate = Gate(2)
        for _ in range(20):
            gate.narrow(gate.enter())
            gate.leave()
        assert gate.has_room(0.0)

    def test_it_stays_shut_until_its_time(self) -> None:
        gate = Gate(2)
        gate.close_until(5.0)
        gate.close_until(3.0)
        assert not gate.has_room(4.9)
        assert gate.has_room(5.0)


class TestAdmission:
    @in_loop
    async def test_no_more_than_the_limit_are_in_flight(self) -> None:
        admission, now, most = open_door(3), 0, 0

        async def call() -> None:
            nonlocal now, most
            async with admission.admitted(Bound()) as slot:
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.001)
                now -= 1
                slot.exchange = used(1)

        await asyncio.gather(*(call() for _ in range(20)))
        assert most == 3

    @in_loop
    async def test_a_call_waits_for_room_in_the_budget_while_others_may_leave_some(self) -> None:
        admission = open_door(8, Limits(tokens=100))

        async def call() -> None:
            async with admission.admitted(Bound(60)) as slot:
                await asyncio.sleep(0.001)
                slot.exchange = used(5)

        await asyncio.gather(*(call() for _ in range(9)))  # one at a time: 8 x 5 + 60 fit, two bounds never do
        assert admission.budget.tokens == 45
        with pytest.raises(BudgetError):
            await call()

    @in_loop
    async def test_stopping_wakes_whoever_waits_and_lets_those_in_flight_end(self) -> None:
        admission = open_door(1)
        ended: list[str] = []

        async def call(name: str) -> None:
            async with admission.admitted(Bound()) as slot:
                await asyncio.sleep(0.01)
                slot.exchange = used(1)
            ended.append(name)

        async def sleeper() -> None:
            await admission.sleep(1000)

        tasks = [asyncio.create_task(work) for work in (call("first"), call("second"), sleeper())]
        await asyncio.sleep(0.001)
        admission.stop(InterruptError("Interrupted."))
        admission.stop(BudgetError("a later reason"))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert ended == ["first"]
        assert [type(result) for result in results] == [type(None), StoppedError, StoppedError]
        assert isinstance(admission.reason, InterruptError)

    @in_loop
    async def test_it_learns_from_what_the_server_says(self) -> None:
        admission = Admission(Gate(8), SpendingBudget())
        now = asyncio.get_running_loop().time()

        async def call(exchange: Exchange) -> None:
            async with admission.admitted(Bound()) as slot:
                slot.exchange = exchange

        await call(faulty(CallFault.TRANSIENT, status=500))
        assert admission.gate.limit == 8  # one bad request is no sign of too many
        await call(THROTTLED)
        assert admission.gate.limit == 4
        await call(used(1))
        assert admission.gate.limit > 4
        await call(Exchange("fake", "m", "", pause_s=7.0))
        assert admission.gate.opens_at_s == pytest.approx(now + 7, abs=0.5)
        admission.gate.opens_at_s = 0.0
        await call(faulty(CallFault.TRANSIENT, status=529, retry_after_s=30.0))
        assert admission.gate.opens_at_s == pytest.approx(now + 30, abs=0.5)
