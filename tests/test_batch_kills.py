"""A run in batches that is killed goes on from its log: nothing lost, nothing paid twice.

INTERPRET_BATCH_KILLS=20 kills it at so many moments drawn at random instead of at a few that matter.
"""

import multiprocessing
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.batch_runs import FEATURES, Address, run_in_batches
from tests.batch_server import BatchFaults, BatchServer
from tests.fault_cases import PROVIDERS
from tests.fault_runs import replayed
from tests.test_batches import check_whole

_FORK = multiprocessing.get_context("forkserver")  # a child is ready at once, and has no threads of the tests'
_FORK.set_forkserver_preload(["tests.batch_runs", "agent.llm.anthropic", "agent.llm.openai"])
_EVENTS = ("asked", "made", "looked", "read")
_LONGEST_S = 30.0


@dataclass(frozen=True)
class Moment:
    """A moment at which a process is killed."""

    event: str
    """What the server has just been asked; `made`: it has made a batch, and has not said so."""
    nth: int
    delay_s: float = 0.0
    """After that."""


THAT_MATTER = (Moment("asked", 0), Moment("made", 0), Moment("made", 1), Moment("read", 1, 0.01))


def _moments() -> list[Moment]:
    wanted = int(os.environ.get("INTERPRET_BATCH_KILLS", "0"))
    chance = random.Random(wanted)
    drawn = [Moment(chance.choice(_EVENTS), chance.randrange(2), chance.uniform(0, 0.05)) for _ in range(wanted)]
    return drawn or [*THAT_MATTER]


def _run(url: str, provider: str, path: Path) -> None:
    run_in_batches(Address(url), provider, path)


def _started(server: BatchServer, provider: str, path: Path) -> BaseProcess:
    process = _FORK.Process(target=_run, args=(server.url, provider, path))
    process.start()
    return process


class Killer:
    """Kills a process at its moment; whatever it was asking is then asked by nobody."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.seen: Counter[str] = Counter()
        self.process: BaseProcess | None = None
        self.has_struck = threading.Event()

    def __call__(self, event: str) -> None:
        self.seen[event] += 1
        if event != self.moment.event or self.seen[event] != self.moment.nth + 1 or self.has_struck.is_set():
            return
        if self.moment.delay_s:
            threading.Thread(target=self._strike).start()
            return
        self._strike()
        if event == "asked":
            raise ConnectionAbortedError

    def _strike(self) -> None:
        time.sleep(self.moment.delay_s)
        assert self.process is not None
        self.process.kill()
        self.has_struck.set()


@pytest.mark.parametrize("moment", _moments(), ids=str)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_that_is_killed_in_the_middle_of_batches_loses_nothing_and_pays_nothing_twice(
    provider: str, moment: Moment, tmp_path: Path
) -> None:
    path = tmp_path / "log.db"
    killer = Killer(moment)
    with BatchServer(BatchFaults(unseen=1, unlisted=1)) as server:
        server.on_event = killer
        killer.process = _started(server, provider, path)
        killer.process.join(_LONGEST_S)
        assert killer.has_struck.wait(1.0)
        assert killer.process.exitcode == -9
        ran = run_in_batches(server, provider, path)
        check_whole(server, ran, provider)
    assert {call.feature for call in ran.calls} == {*FEATURES}
    assert replayed(path) == ["identical"] * len(FEATURES)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(provider: str, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with BatchServer(BatchFaults(unheard=frozenset({0}), cut=frozenset({0}))) as server:
        for moment in _moments():
            killer = Killer(moment)
            server.on_event = killer
            killer.process = _started(server, provider, path)
            killer.process.join(_LONGEST_S)
        server.on_event = lambda _: None
        check_whole(server, run_in_batches(server, provider, path), provider)
