import asyncio
import threading
import time
from collections.abc import Sequence

from agent.prober import BATCH, DeviceThread, Prober
from probes.errors import FeatureError
from probes.evidence import Evidence, ProbeRequest
from probes.settings import ProbeSettings
from tests.fakes import FakeProbes, in_loop

PROBE = ProbeSettings()


def asked(feature: int, n: int = 2) -> list[ProbeRequest]:
    return [ProbeRequest("tokens", feature, PROBE)] * n


async def wave(prober: Prober, features: Sequence[int]) -> list[list[Evidence] | BaseException]:
    jobs = (prober.probe(asked(feature)) for feature in features)
    return await asyncio.gather(*jobs, return_exceptions=True)


def probing(fake: FakeProbes, seconds: float = 0.0) -> DeviceThread:
    def run(requests: Sequence[ProbeRequest]) -> list[Evidence]:
        time.sleep(seconds)
        return fake(None, requests)

    return DeviceThread(run)


@in_loop
async def test_each_gets_its_own_evidence_and_one_thread_makes_it() -> None:
    fake = FakeProbes()
    async with Prober(probing(fake)) as prober:
        found = await wave(prober, range(100))
    assert [{item.feature for item in evidence} for evidence in found] == [{feature} for feature in range(100)]
    assert all(len(evidence) == 2 for evidence in found)
    assert len(fake.threads) == 1
    assert threading.get_ident() not in fake.threads


@in_loop
async def test_a_wave_is_one_batch() -> None:
    fake = FakeProbes()
    async with Prober(probing(fake)) as prober:
        await wave(prober, range(64))
    assert [len(batch) for batch in fake.batches] == [128]


@in_loop
async def test_what_trickles_in_after_a_batch_is_gathered_again() -> None:
    fake = FakeProbes()

    async def two_rounds(feature: int) -> None:
        await prober.probe(asked(feature))
        for _ in range(feature):  # as the log lets one after the other go
            await asyncio.sleep(0)
        await prober.probe(asked(feature))

    async with Prober(probing(fake, seconds=0.3)) as prober:
        await asyncio.gather(*map(two_rounds, range(16)))
    assert [len(batch) for batch in fake.batches] == [32, 32]


@in_loop
async def test_batches_are_bounded() -> None:
    fake = FakeProbes()
    async with Prober(probing(fake)) as prober:
        await asyncio.gather(*(prober.probe(asked(feature, n=100)) for feature in range(30)))
    assert max(map(len, fake.batches)) < BATCH + 100
    assert sum(map(len, fake.batches)) == 3000


@in_loop
async def test_the_event_loop_runs_on_while_the_device_works() -> None:
    ticks = 0
    async with Prober(probing(FakeProbes(), seconds=0.2)) as prober:
        work = asyncio.create_task(prober.probe(asked(1)))
        while not work.done():
            await asyncio.sleep(0.01)
            ticks += 1
    assert ticks >= 5


@in_loop
async def test_a_faulty_feature_fails_alone() -> None:
    fake = FakeProbes(faulty=frozenset({3}))
    async with Prober(probing(fake)) as prober:
        found = await wave(prober, range(6))
        assert [isinstance(item, FeatureError) for item in found] == [number == 3 for number in range(6)]
        assert len(await prober.probe(asked(9))) == 2


@in_loop
async def test_a_cancelled_feature_does_not_disturb_its_batch() -> None:
    async with Prober(probing(FakeProbes(), seconds=0.1)) as prober:
        tasks = [asyncio.create_task(prober.probe(asked(feature))) for feature in range(3)]
        await asyncio.sleep(0.03)
        tasks[1].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert len(found[0]) == len(found[2]) == 2


@in_loop
async def test_leaving_waits_for_the_device_and_drops_the_queue() -> None:
    fake = FakeProbes()
    async with Prober(probing(fake, seconds=0.1)) as prober:
        waiting = asyncio.create_task(prober.probe(asked(1)))
        await asyncio.sleep(0.03)
        queued = asyncio.create_task(prober.probe(asked(2)))
        await asyncio.sleep(0)
    assert [request.feature for batch in fake.batches for request in batch] == [1, 1]
    assert not any(thread.name.startswith("device") for thread in threading.enumerate())
    waiting.cancel()
    queued.cancel()
