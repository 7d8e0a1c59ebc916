"""What experiments are worth to an explainer that knows what it is looking for: with them and without, on one subject.

    python -m tests.bench.agent_bench [--seed 0] [--cutoff 0.05]

The explainer is `tests.bench.knowing`, behind a loopback server that speaks OpenAI's protocol; runs, SDK and log are
the real ones. Measured is, of the demo's features with a known concept and of planted ones (planted_features.py): the
trigger rate of labels (share of sentences with fresh words of the labelled concepts that activate the feature; none
of these words stands in the evidence or was tried), how many features of two concepts got both, how many labels of one
concept's kinds tell a feature from its twin (which of two words, one of either kind, does the label fit?), and how many
random and dead features got none. Cost is calls and tokens.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.config import RunConfig
from agent.llm import make_explainer
from agent.log.calls import Spent, calls_of, spent_by
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec
from eval.metrics import Estimate, mean, paired_difference, proportion
from probes.demo.world import load_world
from probes.evidence import ExpectedText, Experiment, ProbeRequest
from probes.ghost.base_prompt import all_resolved
from probes.probe import run_probes
from probes.subject import Subject
from tests.bench.bench_overhead import Silent
from tests.bench.knowing import TEXTS, fresh, listed_words, members, script
from tests.bench.planted_features import PlantedSubject, planted
from tests.fault_runs import environment
from tests.llm_server import LLMServer

FRESH = 8
"""Sentences that a label's trigger rate is measured on."""
TRIALS = 8
"""Choices between a word of the feature's own kind and one of its twin's."""
APART = 0.75
"""Least share of right choices of a label that tells two features apart."""
_MEASURING = ("We asked about the {}.", "It was about a {} after all.")


@dataclass(frozen=True)
class Labelled:
    """The labels of one run, and what they cost."""

    rows: Mapping[int, LabelRow]
    listed: Mapping[int, tuple[str, ...]]
    """The words that each feature's list showed."""
    spent: Spent

    def concepts(self, feature: int) -> list[str]:
        """The concepts that the feature's label names; none where it has no label."""
        row = self.rows[feature]
        return row.label.split("; ") if row.status == "labelled" else []


def labelled(garden: PlantedSubject, tests: bool, cutoff: float, url: str, folder: Path) -> Labelled:
    """Runs once over everything that was planted or is known."""
    probe = {"tree": {"cutoff": cutoff, "max_depth": 3}}
    config = RunConfig.parse({"rounds": 3 if tests else 1, "tests": tests, "probe": probe})
    features = [*garden.concepts, *garden.twofold, *garden.leaning, *garden.random, *garden.dead]
    explainer = make_explainer("openai:model-a", url)
    explainer.check()
    with RunLog.open(folder / f"{tests}.db") as log:
        spec = RunSpec(config, garden.subject, explainer)
        report = asyncio.run(run_features(spec, log, features, True, Silent()))
        rows = {row.feature: row for row in log.read(labels_of, report.run_id)}
        firsts = {feature: log.read(calls_of, report.run_id, feature)[0].prompt for feature in features}
        spent = log.read(spent_by, report.run_id)
    return Labelled(rows, {feature: listed_words(prompt) for feature, prompt in firsts.items()}, spent)


def trigger_rates(subject: Subject, found: Labelled, features: Iterable[int]) -> dict[int, float | None]:
    """Share of each label's fresh sentences that activate the feature; None for one without a label."""
    settings = all_resolved(subject, RunConfig().probe)
    rates: dict[int, float | None] = {}
    for feature in features:
        words = [word for concept in found.concepts(feature) for word in _untried(concept, feature, found)]
        words = words[:: max(len(words) // FRESH, 1)][:FRESH]
        if not words:
            rates[feature] = None
            continue
        texts = tuple(ExpectedText(_MEASURING[n % 2].format(word), True) for n, word in enumerate(words))
        (made,) = run_probes(subject, [ProbeRequest("experiment", feature, settings, texts)])
        assert isinstance(made, Experiment)
        held = [made.held(result) for result in made.results]
        rates[feature] = sum(one is True for one in held) / len(held)
    return rates


def told_apart(found: Labelled, feature: int, own: str, other: str) -> float:
    """Share of choices in which the label's words hold the word of the feature's kind and not the other; ties half."""
    named = frozenset(word for concept in found.concepts(feature) for word in members(concept))
    pairs = zip(_untried(own, feature, found), _untried(other, feature, found), strict=False)
    scores = [0.5 + ((one in named) - (two in named)) / 2 for one, two in [*pairs][:TRIALS]]
    return sum(scores) / len(scores)


def lines(garden: PlantedSubject, runs: Mapping[str, Labelled], seed: int) -> Iterator[str]:
    """Yields what is printed."""
    rates = {name: trigger_rates(garden.subject, found, garden.concepts) for name, found in runs.items()}
    for name, found in runs.items():
        yield f"{name}: {found.spent.calls} calls, {found.spent.tokens:,} tokens, {len(found.rows)} features"
        n_labels = sum(rate is not None for rate in rates[name].values())
        yield f"  known concepts    trigger rate {_words(mean([*rates[name].values()], seed))}, {n_labels} labels"
        right = [found.concepts(f) == [concept] for f, concept in garden.concepts.items()]
        near = [_names(found.concepts(f), concept) for f, concept in garden.concepts.items()]
        yield f"                    the concept itself {_share(right)}, it or what it is a kind of {_share(near)}"
        both = [set(pair) == set(found.concepts(feature)) for feature, pair in garden.twofold.items()]
        one = [bool(set(pair) & set(found.concepts(feature))) for feature, pair in garden.twofold.items()]
        yield f"  two senses        both {_share(both)}, one at least {_share(one)}"
        scores = [told_apart(found, feature, *pair) for feature, pair in garden.leaning.items()]
        apart = _share([score >= APART for score in scores])
        yield f"  kinds of one      told apart {apart}, right choices {_words(mean(scores, seed))}"
        for kind, features in (("random directions", garden.random), ("dead", garden.dead)):
            yield f"  {kind:17} without a label {_share([not found.concepts(feature) for feature in features])}"
    one_shot, tester = rates.values()
    gain = paired_difference([tester[f] for f in tester], [one_shot[f] for f in tester], seed)
    yield f"trigger rate, with less without, features labelled by both: {_words(gain)}"


def _untried(concept: str, feature: int, found: Labelled) -> list[str]:
    return fresh(concept, feature, found.listed[feature])[TEXTS:]


def _names(labels: Sequence[str], concept: str) -> bool:
    return len(labels) == 1 and labels[0] in load_world().lineage(concept)


def _share(hits: Sequence[bool]) -> str:
    return _words(proportion(sum(hits), len(hits)))


def _words(found: Estimate) -> str:
    interval = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{interval} n {found.n}" if found.value is not None else f"unmeasured: {found.reason}"


def main() -> None:
    """Measures both ways and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--cutoff", default=0.05, type=float)
    given = parser.parse_args()
    garden = planted(given.seed)
    with environment(), LLMServer(script) as server, tempfile.TemporaryDirectory() as name:
        url = server.base_url("openai")
        runs = {
            words: labelled(garden, tests, given.cutoff, url, Path(name))
            for words, tests in (("without experiments", False), ("with experiments", True))
        }
        for line in lines(garden, runs, given.seed):
            print(line, flush=True)


if __name__ == "__main__":
    main()
