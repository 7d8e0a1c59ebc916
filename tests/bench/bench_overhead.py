"""What a hosted run takes beyond what its answers take: features against a server that waits before each answer.

    python -m tests.bench.bench_overhead --features 300 --concurrency 64 --delay-s 2 [--tests]

The bound is what latency and concurrency allow: of `n` calls, `c` at a time, none shorter than the delay, the last can
end no sooner than ceil(n / c) delays after the first is sent. The run is the real one (the demo's probes, the real SDK,
a real log) on shallow trees, so that the device is not what it waits for; the server is a process of its own.
Figures of one run: the wall time from the first call's start, over the bound; how long the first evidence took before
that; the share of the time with calls in flight in which the device stood idle. With `--tests` every feature takes two
calls: the first answer has eight texts run on the model, the second labels; the device's time with these texts is told
apart.
"""

import argparse
import asyncio
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import agent.run
from agent.calls.admission import Admission
from agent.config import RunConfig
from agent.llm import make_explainer
from agent.log.run_log import RunLog
from agent.log.runs import RunRow
from agent.run import run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome
from probes.errors import InterpretError
from probes.evidence import Evidence, ProbeRequest
from probes.probe import run_probes
from probes.subject import Subject, load_subject
from tests.bench.kill_run import Server, serving


@dataclass
class Device:
    """The real probes, and when they worked."""

    spans_s: list[tuple[float, float]] = field(default_factory=list)
    tests_s: float = 0.0
    """Of this with texts of an explainer, where a batch holds nothing else."""

    def __call__(self, subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        started = time.time()
        evidence = run_probes(subject, requests)
        self.spans_s.append((started, time.time()))
        if all(request.kind == "experiment" for request in requests):
            self.tests_s += time.time() - started
        return evidence

    def busy_s(self, begin: float, end: float) -> float:
        """Of that stretch."""
        return sum(max(min(last, end) - max(first, begin), 0.0) for first, last in self.spans_s)


class Silent:
    """Watches nothing."""

    def begun(self, run: RunRow, admission: Admission) -> None: ...
    def told(self, outcome: Outcome) -> None: ...
    def stopping(self, reason: InterpretError) -> None: ...


@dataclass(frozen=True)
class Calls:
    """The requests that the server saw."""

    n: int
    first_s: float
    last_s: float

    @classmethod
    def of(cls, server: Server) -> "Calls":
        told = [json.loads(line) for line in server.history.read_text(encoding="utf-8").splitlines()]
        return cls(len(told), min(t["started_s"] for t in told), max(t["ended_s"] for t in told))


def measure(
    folder: Path, server: Server, n_features: int, concurrency: int, delay_s: float, cutoff: float, tests: bool
) -> None:
    """Runs once and prints."""
    probe = {"tree": {"cutoff": cutoff, "max_depth": 6}}
    rounds = 2 if tests else 1
    config = RunConfig.parse({"concurrency": concurrency, "rounds": rounds, "tests": tests, "probe": probe})
    device = Device()
    agent.run.run_probes = device  # type: ignore[assignment]
    explainer = make_explainer("openai:model-a", f"{server.url}/v1")
    explainer.check()
    subject = load_subject(config.subject)
    started = time.time()
    with RunLog.open(folder / "log.db") as log:
        run = run_features(RunSpec(config, subject, explainer), log, range(n_features), False, Silent())
        report = asyncio.run(run)
    ended = time.time()
    calls = Calls.of(server)
    bound_s = math.ceil(calls.n / concurrency) * delay_s
    wall_s = ended - calls.first_s
    idle = 1 - device.busy_s(calls.first_s, calls.last_s) / (calls.last_s - calls.first_s)
    print(f"outcomes   {dict(report.outcomes)}, {calls.n} calls, {concurrency} in flight, {delay_s:g} s each")
    print(f"bound      {bound_s:.2f} s = ceil({calls.n} / {concurrency}) x {delay_s:g} s")
    over = wall_s / bound_s - 1
    print(f"wall       {wall_s:.2f} s from the first call to the end of the run, {over:+.1%} over the bound")
    print(f"before     {calls.first_s - started:.2f} s until the first call (the first evidence)")
    print(f"device     busy {device.busy_s(started, ended):.2f} s, idle {idle:.0%} of the time with calls in flight")
    if tests:
        print(f"tests      {8 * n_features:,} texts, {device.tests_s:.2f} s of it in batches of nothing else")


def main() -> None:
    """Measures once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=300)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--delay-s", type=float, default=2.0)
    parser.add_argument("--cutoff", type=float, default=0.05)
    parser.add_argument("--tests", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(Path(name), asked.delay_s, asked.tests) as server:
        measure(Path(name), server, asked.features, asked.concurrency, asked.delay_s, asked.cutoff, asked.tests)


if __name__ == "__main__":
    main()
