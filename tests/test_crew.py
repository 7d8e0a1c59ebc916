"""A crew is idle exactly when a question of every item in hand waits for its answer."""

import asyncio

from agent.calls.crew import Crew
from tests.fakes import in_loop


@in_loop
async def test_it_is_idle_when_each_item_in_hand_asks() -> None:
    crew, seen = Crew(), []
    working, answered = asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        with crew.asking():
            await answered.wait()

    async def handle(item: str) -> None:
        if item == "works first":
            await working.wait()
        await asyncio.gather(ask(), ask())  # two questions of one item are those of one item

    items = [asyncio.create_task(crew.at_work(handle)(item)) for item in ("asks", "works first")]
    await asyncio.sleep(0.01)
    seen.append(crew.is_idle)
    working.set()
    await asyncio.sleep(0.01)
    seen.append(crew.is_idle)
    items.append(asyncio.create_task(crew.at_work(handle)("works first")))
    working.clear()
    await asyncio.sleep(0.01)
    seen.append(crew.is_idle)
    working.set()
    answered.set()
    await asyncio.gather(*items)
    assert seen == [False, True, False]


@in_loop
async def test_an_item_that_fails_is_out_of_hand() -> None:
    crew = Crew()

    async def handle(_: str) -> None:
        raise ValueError

    for result in await asyncio.gather(crew.at_work(handle)("an item"), return_exceptions=True):
        assert isinstance(result, ValueError)
    assert crew.is_idle
