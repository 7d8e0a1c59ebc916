"""Measures what a finer tree is worth: labels of the demo's known concepts by cutoff, and what each cutoff costs.

    python -m tests.bench.cutoffs [--cutoffs 0.00005,0.0002,0.001,0.005] [--features 102] [--random 100] [--seed 0]

The embedded explainer labels features with a known concept, in up to three rounds, and directions drawn at random in
place of features, each of whose labels is wrong. Differences to the first cutoff are paired by feature. Bytes are what
the log grows by, a feature: evidence, the rules' calls and labels.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from agent.config import RunConfig
from agent.llm.offline import Offline
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec
from eval.metrics import paired_difference, proportion
from eval.scoring.known import names_concept
from probes.demo.shipped import load_truth
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from tests.bench.bench_overhead import Silent
from tests.bench.null_p_values import with_random_rows
from tests.bench.probe_table import figure


@dataclass(frozen=True)
class Labelled:
    """The labels at one cutoff, by feature; None where there is none. Costs are a feature's."""

    labels: dict[int, str | None]
    cpu_s: float
    nodes: float
    log_bytes: float


def labelled(subject: Subject, features: Sequence[int], cutoff: float, path: Path) -> Labelled:
    """Labels once, in a log of its own."""
    config = RunConfig.parse({"probe": {"tree": {"cutoff": cutoff}}})
    with RunLog.open(path):
        empty = path.stat().st_size
    begun = time.process_time()
    with RunLog.open(path) as log:
        report = asyncio.run(run_features(RunSpec(config, subject, Offline()), log, features, True, Silent()))
        rows = log.read(labels_of, report.run_id)
    took = time.process_time() - begun
    db = Database(path)
    db.vacuum()
    (nodes,) = db.execute("SELECT sum(n_nodes) FROM evidence WHERE kind = 'tree'").fetchone()
    db.close()
    labels = {row.feature: row.label if row.status == "labelled" else None for row in rows}
    n = len(features)
    return Labelled(labels, took / n, nodes / n, (path.stat().st_size - empty) / n)


def main() -> None:
    """Prints a line for each cutoff."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutoffs", default="0.00005,0.0002,0.001,0.005")
    parser.add_argument("--features", default=102, type=int)
    parser.add_argument("--random", default=100, type=int)
    parser.add_argument("--seed", default=0, type=int)
    given = parser.parse_args()
    subject, truth = load_subject(SubjectSource()), load_truth()
    noise = with_random_rows(subject, given.random, given.seed)
    known = sorted(truth.features)[: given.features]
    base: list[float] = []
    for cutoff in map(float, given.cutoffs.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            found = labelled(subject, known, cutoff, Path(folder) / "log.db")
            random = labelled(noise, range(given.random), cutoff, Path(folder) / "random.db")
        hits = [float(names_concept(found.labels[f], truth.features[f], truth)) for f in known]
        base = base or hits
        gain = paired_difference(hits, base, given.seed)
        interval = "" if gain.low is None or gain.high is None else f" [{gain.low:+.2f}, {gain.high:+.2f}]"
        print(
            f"cutoff {cutoff:<8g} right {figure(proportion(int(sum(hits)), len(hits)))}  "
            f"difference {gain.value:+.2f}{interval}  random labelled "
            f"{figure(proportion(sum(label is not None for label in random.labels.values()), given.random))}  "
            f"a feature: {found.cpu_s:.2f} CPU s, {found.nodes:,.0f} nodes, {found.log_bytes / 1000:.1f} kB",
            flush=True,
        )


if __name__ == "__main__":
    main()
