"""Measures what stopping by the log's history saves in calls and costs in labels, on features it was not taken from.

    python -m tests.bench.stopping_demo [--gains 0.05,0.1,0.2] [--features 300] [--cutoff 0.003]

The embedded explainer labels half of the features, drawn at random, in up to four rounds: that is the history. Then it
labels the other half, with all rounds, and with those that pay by the history at each least gain. Right are labels that
name the feature's known concept; rounds are what a language model would be paid for.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from agent.config import RunConfig
from agent.llm.offline import Offline
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec, explainer_name
from eval.metrics import paired_difference, proportion
from eval.paying_rounds import paying_rounds
from eval.scoring.known import names_concept
from probes.demo.shipped import load_truth
from probes.subject import Subject, load_subject
from tests.bench.bench_overhead import Silent
from tests.bench.probe_table import figure

ROUNDS = 4


def labelled(
    log: RunLog, subject: Subject, features: Sequence[int], cutoff: float, gain: float | None
) -> list[LabelRow]:
    """Runs once; prints what the history says where a least gain is given."""
    config = RunConfig.parse({"rounds": ROUNDS, "least_gain": gain, "probe": {"tree": {"cutoff": cutoff}}})
    explainer, paying = Offline(), {}
    if gain is not None:
        found = paying_rounds(log, explainer_name(explainer), subject.card.fingerprint, ROUNDS, gain)
        paying = dict(found.rounds)
        for one in found.gains:
            print(f"  {one.sentence()}")
    spec = RunSpec(config, subject, explainer, paying=paying)
    report = asyncio.run(run_features(spec, log, features, True, Silent()))
    return log.read(labels_of, report.run_id)


def right(rows: Sequence[LabelRow]) -> list[float]:
    """1 for each feature with a known concept whose label names it."""
    truth = load_truth()
    known = [row for row in rows if row.feature in truth.features]
    labels = [(row, row.label if row.status == "labelled" else None) for row in known]
    return [float(names_concept(label, truth.features[row.feature], truth)) for row, label in labels]


def main() -> None:
    """Prints a line for each least gain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gains", default="0.05,0.1,0.2")
    parser.add_argument("--features", default=300, type=int)
    parser.add_argument("--cutoff", default=0.003, type=float)
    parser.add_argument("--seed", default=0, type=int)
    given = parser.parse_args()
    subject, known = load_subject(RunConfig().subject), sorted(load_truth().features)
    rng = np.random.default_rng(given.seed)
    others = rng.permutation([f for f in range(subject.card.n_features) if f not in known])
    chosen = rng.permutation([*known, *others[: given.features - len(known)]]).tolist()
    past, new = chosen[::2], chosen[1::2]
    with tempfile.TemporaryDirectory() as folder, RunLog.open(Path(folder) / "log.db") as log:
        labelled(log, subject, past, given.cutoff, None)
        stopped = {gain: labelled(log, subject, new, given.cutoff, gain) for gain in map(float, given.gains.split(","))}
        base = labelled(log, subject, new, given.cutoff, None)
    for name, rows in {"all rounds": base, **{f"least gain {gain:g}": rows for gain, rows in stopped.items()}}.items():
        hits, gain = right(rows), paired_difference(right(rows), right(base), given.seed)
        interval = "" if gain.low is None or gain.high is None else f" [{gain.low:+.2f}, {gain.high:+.2f}]"
        print(
            f"{name:16} right {figure(proportion(int(sum(hits)), len(hits)))}  difference {gain.value:+.2f}{interval}  "
            f"rounds {fmean(row.rounds for row in rows):.2f} of {len(rows)} features"
        )


if __name__ == "__main__":
    main()
