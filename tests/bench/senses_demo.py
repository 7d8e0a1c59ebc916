"""Are both concepts of a feature named where its words are defined one by one, and is one concept left whole?

    python -m tests.bench.senses_demo [--define 16] [--cutoff 0.001] [--seed 0]

The embedded explainer labels planted features of two unrelated concepts (planted_features.py), the demo's features with
a known concept, and random directions, without definitions and with them. The rule was chosen on every other feature
(`chosen on`) and is reported on the rest.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agent.config import RunConfig
from agent.llm.offline import Offline
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec
from eval.metrics import paired_difference, proportion
from eval.scoring.known import names_concept
from probes.demo.shipped import load_truth
from tests.bench.bench_overhead import Silent
from tests.bench.planted_features import PlantedSubject, planted
from tests.bench.probe_table import figure
from tests.bench.rules_demo import names_both

HALVES = {"chosen on": slice(0, None, 2), "the rest": slice(1, None, 2)}


def labelled(garden: PlantedSubject, define: int, cutoff: float) -> dict[int, str | None]:
    """Returns the labels by feature; None where there is none."""
    config = RunConfig.parse({"probe": {"tree": {"cutoff": cutoff}, "tokens": {"define": define}}})
    features = [*garden.twofold, *garden.concepts, *garden.random]
    with tempfile.TemporaryDirectory() as folder, RunLog.open(Path(folder) / "log.db") as log:
        report = asyncio.run(run_features(RunSpec(config, garden.subject, Offline()), log, features, True, Silent()))
        rows = log.read(labels_of, report.run_id)
    return {row.feature: row.label if row.status == "labelled" else None for row in rows}


def main() -> None:
    """Prints both ways, half by half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--define", default=16, type=int)
    parser.add_argument("--cutoff", default=0.001, type=float)
    parser.add_argument("--seed", default=0, type=int)
    given = parser.parse_args()
    garden, truth = planted(given.seed), load_truth()
    found: dict[int, dict[int, str | None]] = {}
    for define in (0, given.define):
        begun = time.process_time()
        found[define] = labelled(garden, define, given.cutoff)
        print(f"{define} words defined: {(time.process_time() - begun) / len(found[define]):.2f} CPU s a feature")
    for half, part in HALVES.items():
        twofold, known, random = ([*some][part] for some in (garden.twofold, garden.concepts, garden.random))
        before: Sequence[float] = ()
        for define, labels in found.items():
            both = [names_both(labels[feature], garden.twofold[feature]) for feature in twofold]
            hits = [float(names_concept(labels[feature], truth.features[feature], truth)) for feature in known]
            split = [";" in (labels[feature] or "") for feature in known]
            noise = [labels[feature] is not None for feature in random]
            before = before or hits
            gain = paired_difference(hits, before, given.seed)
            interval = "" if gain.low is None or gain.high is None else f" [{gain.low:+.2f}, {gain.high:+.2f}]"
            print(
                f"{half:10} {define:2} defined: both of two {_share(both)}, one: right {_share(hits)} "
                f"({gain.value:+.2f}{interval}), named as two {_share(split)}, random labelled {_share(noise)}",
                flush=True,
            )


def _share(hits: Sequence[float]) -> str:
    return figure(proportion(int(sum(hits)), len(hits)))


if __name__ == "__main__":
    main()
