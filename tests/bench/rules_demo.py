"""What rules gain by experimenting: the embedded explainer with some of its rules, on features whose truth is known.

    python -m tests.bench.rules_demo [--rounds 1,2,4] [--cutoff 0.001] [--seed 0]

Every feature of the demo with a known concept is labelled by each set of rules, in as many rounds as are allowed; a
label is right where it names the concept or a synonym and nothing else, and a feature without a label counts as not
right. Beside that, how many planted features of two concepts got both (`tests.bench.planted_features`), and how many
of so many random directions are labelled: each of those is wrong. Differences to reading alone are paired by feature.
The cost of rules is rounds; all runs share their evidence.
"""

import argparse
import asyncio
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from agent.config import RunConfig
from agent.llm.experimenting import RULES, Rule
from agent.llm.offline import Offline
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec
from eval.metrics import paired_difference, proportion
from eval.scoring.known import names_concept
from probes.demo.shipped import load_truth
from probes.demo.world import load_world
from probes.subject import Subject
from tests.bench.bench_overhead import Silent
from tests.bench.planted_features import PlantedSubject, planted
from tests.bench.probe_table import figure

SETS: dict[str, frozenset[Rule]] = {
    "reading alone": frozenset(),
    "+ senses": frozenset({"senses"}),
    "+ test": frozenset({"test"}),
    "+ compare": frozenset({"compare"}),
    "+ steer": frozenset({"steer"}),
    "+ candidates": frozenset({"candidates"}),
    "all": RULES,
}


@dataclass(frozen=True)
class Labelled:
    """The labels of one set of rules, by feature; None where there is none."""

    labels: dict[int, str | None]
    rounds: float
    """Mean of a feature's."""


def labelled(
    log: RunLog, subject: Subject, features: Sequence[int], rules: frozenset[Rule], rounds: int, cutoff: float
) -> Labelled:
    """Runs once, with the evidence that earlier runs of the log have."""
    moves = {"tests": bool(rules - {"candidates"}), "candidates": 3 if "candidates" in rules else 1}
    config = RunConfig.parse({"rounds": rounds, **moves, "probe": {"tree": {"cutoff": cutoff}}})
    report = asyncio.run(run_features(RunSpec(config, subject, Offline(rules)), log, features, True, Silent()))
    rows = log.read(labels_of, report.run_id)
    labels = {row.feature: row.label if row.status == "labelled" else None for row in rows}
    return Labelled(labels, fmean(row.rounds for row in rows))


def main() -> None:
    """Prints a line for each set of rules and number of rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default="1,2,4")
    parser.add_argument("--cutoff", default=0.001, type=float)
    parser.add_argument("--seed", default=0, type=int)
    given = parser.parse_args()
    garden = planted(given.seed)
    features = [*garden.concepts, *garden.twofold, *garden.random]
    with tempfile.TemporaryDirectory() as folder, RunLog.open(Path(folder) / "log.db") as log:
        for rounds in map(int, given.rounds.split(",")):
            base: list[float] = []
            for name, rules in SETS.items():
                found = labelled(log, garden.subject, features, rules, rounds, given.cutoff)
                base = base or right(found, garden)
                print(f"rounds {rounds}  {name:14} {line(found, garden, base, given.seed)}", flush=True)


def line(found: Labelled, garden: PlantedSubject, base: Sequence[float], seed: int) -> str:
    """Says how many are right, wrong, of both senses, and labelled where there is nothing to label."""
    hits = right(found, garden)
    gain = paired_difference(hits, base, seed)
    interval = "" if gain.low is None or gain.high is None else f" [{gain.low:+.2f}, {gain.high:+.2f}]"
    n_wrong = sum(found.labels[feature] is not None for feature in garden.concepts) - int(sum(hits))
    both = [names_both(found.labels[feature], pair) for feature, pair in garden.twofold.items()]
    noise = [found.labels[feature] is not None for feature in garden.random]
    return (
        f"right {_share(hits)}  gain {gain.value:+.2f}{interval}  wrong {n_wrong}  both senses {_share(both)}  "
        f"random labelled {_share(noise)}  rounds {found.rounds:.2f}"
    )


def right(found: Labelled, garden: PlantedSubject) -> list[float]:
    """1 for each feature whose concept the label names."""
    truth = load_truth()
    return [float(names_concept(found.labels[f], truth.features[f], truth)) for f in garden.concepts]


def names_both(label: str | None, pair: tuple[str, str]) -> bool:
    """Tells whether the label names both concepts, or what they are kinds of, and no third one."""
    truth, world = load_truth(), load_world()
    words = re.findall("[a-z]+", label or "")
    named = {truth.concept_of_name[word] for word in words if word in truth.concept_of_name}
    lineages = [{*world.lineage(concept)} for concept in pair]
    return all(named & lineage for lineage in lineages) and named <= set[str]().union(*lineages)


def _share(hits: Sequence[float]) -> str:
    return figure(proportion(int(sum(hits)), len(hits)))


if __name__ == "__main__":
    main()
