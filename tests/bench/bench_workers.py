"""Worker processes and a Ray cluster against one process: same labels? how long? what does a batch cost on its way?

    python -m tests.bench.bench_workers --features 200 --cutoff 0.02

Features of the demo, labelled by rules: in one process; by `--devices cpu,cpu`; on a local cluster of three nodes with
one core each; and there again while a worker is killed at a quarter of the labels, a node removed at a half, a node
added at three quarters. Then calls that do nothing, and calls that only carry a batch's evidence, time what a batch
costs.
"""

import argparse
import asyncio
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.llm.offline import Offline
from agent.log.evidence import evidence_of
from agent.log.run_log import RunLog
from agent.pool.pool import Pool
from agent.pool.processes import DeviceProcesses
from agent.pool.ray_actors import RayActors
from agent.pool.resident import loaded_from
from agent.pool.workers import Workforce
from agent.run import SHARE, RunReport, run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome
from probes.ghost.token_states import token_states
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from tests.fakes import Notes, config
from tests.test_ray import residents
from tests.test_shards import LABEL, rows_of

CALLS = 50


@dataclass
class Timed:
    """One run, with what was heard of its workers."""

    path: Path
    report: RunReport
    heard: list[tuple[float, str]] = field(default_factory=list)
    """Seconds from the start, and what was said."""

    @property
    def working_s(self) -> float:
        """Seconds from the first worker at work to the end."""
        begun = [at for at, sentence in self.heard if "is at work" in sentence]
        return self.report.seconds - min(begun, default=0.0)


@contextmanager
def cluster_of(n_nodes: int) -> Iterator[Any]:
    """A cluster on this machine, one core to a node."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(n_nodes - 1):
        cluster.add_node(num_cpus=1)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def timed(
    path: Path, subject: Subject, asked: argparse.Namespace, force: Workforce | None, on_label: Callable[[int], None]
) -> Timed:
    """Labels the features; `on_label` hears how many there are."""
    told: list[Outcome] = []
    heard: list[tuple[float, str]] = []
    started = time.perf_counter()

    def tell(outcome: Outcome) -> None:
        told.append(outcome)
        on_label(len(told))

    def hear(sentence: str) -> None:
        heard.append((time.perf_counter() - started, sentence))

    settings = config(probe={"tree": {"cutoff": asked.cutoff}}, concurrency=64)
    with RunLog.open(path) as log:
        spec = RunSpec(settings, subject, Offline())
        notes = Notes(on_told=tell)
        work = run_features(spec, log, range(asked.features), False, notes, tell=hear, workforce=force)
        return Timed(path, asyncio.run(work), heard)


def disturbing(cluster: Any, n_features: int) -> Callable[[int], None]:
    """Kills, removes and adds at the quarters."""

    def disturb(n_labels: int) -> None:
        if n_labels == n_features // 4:
            residents()[0].kill()
        if n_labels == n_features // 2:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        if n_labels == 3 * n_features // 4:
            cluster.add_node(num_cpus=1, wait=False)

    return disturb


def nothing(_subject: Subject) -> None:
    """Costs what a call costs."""


def same(_subject: Subject, evidence: Any) -> Any:
    """Costs that and the way there and back."""
    return evidence


async def overhead(force: Workforce, subject: Subject, evidence: Sequence[Any]) -> tuple[float, float]:
    """The median milliseconds of a call that does nothing, and of one that carries the evidence both ways."""
    async with Pool(force, loaded_from(subject.card)) as pool:
        await pool.vacancy()
        return await _median_ms(pool, nothing), await _median_ms(pool, same, evidence)


async def _median_ms(pool: Pool, function: Callable[..., Any], *arguments: Any) -> float:
    took = []
    for _ in range(CALLS):
        started = time.perf_counter()
        await pool.call(function, *arguments)
        took.append(1000 * (time.perf_counter() - started))
    return statistics.median(took)


def _line(name: str, one: Timed, whole: Timed) -> None:
    equal = "equal" if rows_of(one.path, "labels", LABEL) == rows_of(whole.path, "labels", LABEL) else "NOT EQUAL"
    n = sum(one.report.outcomes.values())
    print(
        f"{name:28} {n} labels {equal:9} {one.report.seconds:7.1f} s, {one.working_s:7.1f} s of them at work",
        flush=True,
    )
    for at, sentence in one.heard:
        print(f"    {at:6.1f} s  {sentence}")


def main() -> None:
    """Prints a line for each run, and what a batch costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=200, help="How many of the demo's.")
    parser.add_argument("--cutoff", type=float, default=0.02)
    asked = parser.parse_args()
    source = SubjectSource(device="cpu")
    subject = load_subject(source)
    token_states(subject)  # from here on in the cache
    quiet: Callable[[int], None] = lambda _: None  # noqa: E731
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = timed(folder / "one.db", subject, asked, None, quiet)
        _line("one process", whole, whole)
        with RunLog.open(whole.path) as log:
            batch = [piece for feature in range(SHARE) for piece in log.read(evidence_of, 1, feature, 1)]
        two = timed(folder / "two.db", subject, asked, DeviceProcesses(source, ["cpu", "cpu"], 2), quiet)
        _line("--devices cpu,cpu", two, whole)
        with cluster_of(3) as cluster:
            ray = timed(folder / "ray.db", subject, asked, RayActors(source, cluster.address, None), quiet)
            _line("Ray, three nodes", ray, whole)
            disturb = disturbing(cluster, asked.features)
            again = timed(folder / "again.db", subject, asked, RayActors(source, cluster.address, None), disturb)
            _line("Ray, disturbed", again, whole)
        print(
            f"a batch: {SHARE} features, {len(pickle.dumps(batch)) / 1000:.0f} kB of evidence; {os.getloadavg()} load"
        )
        empty, full = asyncio.run(overhead(DeviceProcesses(source, ["cpu"], 1), subject, batch))
        print(f"process: a call {empty:.2f} ms, with a batch's evidence both ways {full:.2f} ms")
        with cluster_of(1) as cluster:
            empty, full = asyncio.run(overhead(RayActors(source, cluster.address, None), subject, batch))
        print(f"Ray:     a call {empty:.2f} ms, with a batch's evidence both ways {full:.2f} ms")


if __name__ == "__main__":
    main()
