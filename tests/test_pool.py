"""The pool of workers, with workers that live in this process and die as they are told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent.errors import LostWorkError, NoWorkerError, WorkersError
from agent.pool import pool as pool_module
from agent.pool.pool import DEPTH, LOSSES, Pool
from agent.pool.resident import Loaded
from agent.pool.workers import Worker, WorkerLostError
from agent.prober import DevicePool, Prober
from probes.errors import FeatureError, SubjectError
from probes.evidence import ProbeRequest
from tests.fakes import FakeProbes, in_loop
from tests.test_prober import asked, wave

LOADED = Loaded("a" * 64, "float32", "0.1.0", "cpu")


@dataclass
class FakeWorker:
    """Does one call at a time, each after a few turns of the loop, until its life is over."""

    name: str
    life: float = float("inf")
    """Calls that it ends before it dies in the next one."""
    comes_back: bool = False
    loaded: Loaded | Exception = LOADED
    dead: bool = False
    held: int = 0
    most_held: int = 0
    done: list[Any] = field(default_factory=list)
    deadly: Callable[[Any], bool] = lambda _: False
    """Tells of a call's argument that it dies of it."""
    closed: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def arrive(self) -> None:
        if self.dead and self.comes_back:
            self.dead, self.life = False, float("inf")

    async def load(self) -> Loaded:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        try:
            async with self.lock:
                await asyncio.sleep(0.002)
                self.dead |= len(self.done) >= self.life or self.deadly(arguments[0])
                if self.dead:
                    raise WorkerLostError("it died")
                self.done.append(arguments)
                return function(None, *arguments)
        finally:
            self.held -= 1

    async def close(self) -> None:
        self.closed = True


class FakeWorkforce:
    """These workers, each after a while."""

    patience_s: float | None = None

    def __init__(self, *workers: FakeWorker, every_s: float = 0.0) -> None:
        self.n_expected = len(workers)
        self.closed = False
        self._workers = workers
        self._every_s = every_s

    async def workers(self) -> AsyncIterator[Worker]:
        for worker in self._workers:
            yield worker
            await asyncio.sleep(self._every_s)

    def close(self) -> None:
        self.closed = True


def doubled(_subject: object, number: int) -> int:
    return 2 * number


async def ask(pool: Pool, numbers: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*(pool.call(doubled, number) for number in numbers), return_exceptions=True)


@in_loop
async def test_workers_share_the_calls_and_hold_no_more_than_two() -> None:
    workers = [FakeWorker(name) for name in "abc"]
    async with Pool(force := FakeWorkforce(*workers), LOADED) as pool:
        assert await ask(pool, range(60)) == [2 * number for number in range(60)]
    assert [worker.most_held for worker in workers] == [DEPTH] * 3
    assert min(len(worker.done) for worker in workers) > 10
    assert all(worker.closed for worker in workers)
    assert force.closed


@in_loop
async def test_what_a_dead_worker_held_is_done_by_the_others() -> None:
    told: list[str] = []
    workers = [FakeWorker("a", life=3), FakeWorker("b")]
    async with Pool(FakeWorkforce(*workers), LOADED, told.append) as pool:
        assert await ask(pool, range(30)) == [2 * number for number in range(30)]
    assert (len(workers[0].done), len(workers[1].done)) == (3, 27)
    assert [line for line in told if "goes to the others" in line] == [
        "Worker a: it died. Its unfinished work goes to the others."
    ]


@in_loop
async def test_without_any_worker_left_every_call_says_so() -> None:
    async with Pool(FakeWorkforce(FakeWorker("a", life=2), FakeWorker("b", life=1)), LOADED) as pool:
        found = await ask(pool, range(10))
        assert sum(isinstance(one, int) for one in found) == 3
        errors = {str(one) for one in found if isinstance(one, NoWorkerError)}
        assert len(errors) == 1
        assert "No worker is left, the last one " in errors.pop()
        with pytest.raises(NoWorkerError):
            await pool.vacancy()


@in_loop
async def test_a_worker_that_comes_back_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "RETRY_S", 0.001)
    worker = FakeWorker("a", life=2, comes_back=True)
    async with Pool(FakeWorkforce(worker), LOADED) as pool:
        assert await ask(pool, range(9)) == [2 * number for number in range(9)]


@in_loop
async def test_where_no_worker_comes_back_in_time_the_work_ends() -> None:
    force = FakeWorkforce(FakeWorker("a", life=1, comes_back=True))
    force.patience_s = 0.05  # less than between attempts
    async with Pool(force, LOADED) as pool:
        found = await ask(pool, range(4))
    assert [type(one) for one in found] == [int, NoWorkerError, NoWorkerError, NoWorkerError]


@in_loop
async def test_a_worker_that_comes_late_takes_its_part() -> None:
    late = FakeWorker("late")
    async with Pool(FakeWorkforce(FakeWorker("a"), late, every_s=0.03), LOADED) as pool:
        await ask(pool, range(60))
    assert len(late.done) > 10


@in_loop
async def test_a_call_that_workers_die_of_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "RETRY_S", 0.001)
    workers = [FakeWorker(name, deadly=(13).__eq__, comes_back=True) for name in "ab"]
    async with Pool(FakeWorkforce(*workers), LOADED) as pool:
        found = await ask(pool, range(30))
    wrong = {number: one for number, one in enumerate(found) if isinstance(one, BaseException)}
    assert [*wrong] == [13]
    assert isinstance(wrong[13], LostWorkError)
    assert f"{LOSSES} workers, one after the other, were lost" in str(wrong[13])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fingerprint": "b" * 64}, "another subject, by its files' fingerprint, than this process"),
        ({"dtype": "bfloat16"}, r"another number format than this process \(bfloat16, not float32\)"),
        ({"version": "0.0.9"}, r"another sae-interpret than this process \(0.0.9, not 0.1.0\)"),
    ],
)
@in_loop
async def test_a_worker_that_holds_something_else_ends_the_work(change: dict[str, str], words: str) -> None:
    other = FakeWorker("other", loaded=replace(LOADED, **change))
    async with Pool(FakeWorkforce(other), LOADED) as pool:
        with pytest.raises(WorkersError, match=words):
            await pool.call(doubled, 1)
    assert other.done == []


@in_loop
async def test_a_subject_that_a_worker_cannot_load_is_said_with_the_worker() -> None:
    async with Pool(FakeWorkforce(FakeWorker("a", loaded=SubjectError("Model x is not there."))), LOADED) as pool:
        with pytest.raises(WorkersError, match=r"^Worker a: Model x is not there\.$"):
            await pool.call(doubled, 1)


@in_loop
async def test_one_that_dies_whenever_it_loads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "RETRY_S", 0.001)
    told: list[str] = []
    worker = FakeWorker("a", loaded=WorkerLostError("out of memory"), comes_back=True)
    async with Pool(FakeWorkforce(worker), LOADED, told.append) as pool:
        with pytest.raises(NoWorkerError, match="No worker is left, the last one a: out of memory; give"):
            await pool.call(doubled, 1)
    assert told == ["Worker a: out of memory, before it could work; it is given up."]


@in_loop
async def test_any_other_fault_of_loading_is_said_with_the_worker() -> None:
    async with Pool(FakeWorkforce(FakeWorker("a", loaded=RuntimeError("no memory left"))), LOADED) as pool:
        with pytest.raises(WorkersError, match=r"^Worker a: RuntimeError, no memory left\.$"):
            await pool.call(doubled, 1)


@in_loop
async def test_a_cluster_that_has_gone_ends_the_work() -> None:
    class Gone(FakeWorkforce):
        async def workers(self) -> AsyncIterator[Worker]:
            yield FakeWorker("a", life=0)
            raise ConnectionError("nobody answers")

    async with Pool(Gone(), LOADED) as pool:
        with pytest.raises(WorkersError, match="Workers are out of reach: ConnectionError, nobody answers; give"):
            await pool.call(doubled, 1)


@in_loop
async def test_one_that_dies_as_it_loads_leaves_the_work_to_the_others() -> None:
    workers = [FakeWorker("a", loaded=WorkerLostError("out of memory")), FakeWorker("b")]
    async with Pool(FakeWorkforce(*workers), LOADED) as pool:
        assert await ask(pool, range(5)) == [0, 2, 4, 6, 8]


class TestProber:
    """Batches for the workers of a pool."""

    @in_loop
    async def test_a_wave_is_shared_evenly_and_each_gets_its_own(self) -> None:
        fake = FakeProbes()
        workers = [FakeWorker(name) for name in "abc"]
        async with Pool(FakeWorkforce(*workers), LOADED) as pool:
            await pool.vacancy()
            async with Prober(DevicePool(pool, fake)) as prober:
                found = await wave(prober, range(60))
        assert [{item.feature for item in evidence} for evidence in found] == [{feature} for feature in range(60)]
        assert [len(batch) for batch in fake.batches] == [2 * 10] * 6

    @in_loop
    async def test_a_batch_has_no_more_features_than_asked(self) -> None:
        fake = FakeProbes()
        async with (
            Pool(FakeWorkforce(FakeWorker("a")), LOADED) as pool,
            Prober(DevicePool(pool, fake), largest=4) as prober,
        ):
            await wave(prober, range(30))
        assert max(len(batch) for batch in fake.batches) == 2 * 4

    @in_loop
    async def test_a_faulty_feature_fails_alone(self) -> None:
        fake = FakeProbes(faulty=frozenset({3}))
        async with (
            Pool(FakeWorkforce(FakeWorker("a"), FakeWorker("b")), LOADED) as pool,
            Prober(DevicePool(pool, fake)) as prober,
        ):
            found = await wave(prober, range(8))
        assert [isinstance(item, FeatureError) for item in found] == [number == 3 for number in range(8)]

    @in_loop
    async def test_without_workers_what_waits_and_what_comes_later_hears_of_it(self) -> None:
        async with (
            Pool(FakeWorkforce(FakeWorker("a", life=1)), LOADED) as pool,
            Prober(DevicePool(pool, FakeProbes()), largest=2) as prober,
        ):
            found = await wave(prober, range(12))
            assert sum(isinstance(one, NoWorkerError) for one in found) == 10
            with pytest.raises(NoWorkerError):
                await prober.probe(asked(1))

    @in_loop
    async def test_a_request_that_kills_workers_fails_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool_module, "RETRY_S", 0.001)

        def has_seven(requests: Sequence[ProbeRequest]) -> bool:
            return any(request.feature == 7 for request in requests)

        workers = [FakeWorker(name, deadly=has_seven, comes_back=True) for name in "ab"]
        async with (
            Pool(FakeWorkforce(*workers), LOADED) as pool,
            Prober(DevicePool(pool, FakeProbes()), largest=5) as prober,
        ):
            found = await wave(prober, range(20))
        assert [number for number, one in enumerate(found) if isinstance(one, BaseException)] == [7]
