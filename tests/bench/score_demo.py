"""Labels of the embedded subject's features whose concept is known, by the scorers that need no key.

    python -m tests.bench.score_demo [--tokens N] [--log FILE]

The offline explainer labels every live feature with a known concept, unless the log has such a run; then those labels,
and the known concepts' own names in their place, are scored on the same held-out texts. Beside them stands what an
oracle gets on these texts that knows the concept's words and says of each text whether it holds one: as far as a label
can come that is the concept and nothing else, since the features are neither precise nor complete.

The scorer is `embedding`, with the subject's own input embeddings. `detection`, `fuzzing`, `simulation`,
`discrimination` and `clarity` ask a language model.
"""

import argparse
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.cli.commands.examples import gather_examples
from agent.cli.commands.run import label_features
from agent.cli.commands.score import score_labels
from agent.config import RunConfig, resolve
from agent.evidence.shown_examples import cut, key_of
from agent.log.examples import examples_of
from agent.log.labels import add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, chosen_run
from agent.log.scores import ScoreRow, scores_of, scorings_of
from agent.schema import Outcome
from eval.metrics import Estimate, auroc, mean, paired_difference
from eval.scoring import report
from eval.scoring.score_run import HELD_OUT, NEW_WORDS
from eval.scoring.scoring_examples import ScoringExamples
from probes.demo.shipped import load_truth
from probes.demo.world import load_world
from probes.examples import Example, Split
from probes.presets import SubjectCard
from tests.word_types import word_types

WORDS = {
    "label": "the offline explainer's label",
    "known": "its concept's name",
    "tokens": "its top tokens",
    "shuffled": "another feature's label",
}
"""For what is scored as a label of the features that the offline explainer has labelled."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str
    what: str
    found: Estimate
    ahead_of: str = ""
    """Which row it is compared with."""
    ahead: Estimate | None = None


@dataclass(frozen=True)
class Scores:
    """The fate of a run's labels."""

    scores: Sequence[ScoreRow]
    corpus_id: int

    def values(self, variant: str, part: str) -> dict[int, float | None]:
        """By feature."""
        return {s.feature: s.value for s in self.scores if (s.variant, s.part) == (variant, part)}


def main() -> None:
    """Labels, collects, scores, prints."""
    asked = _arguments()
    features = sorted(load_truth().features)
    spec = ",".join(map(str, features))
    console = Console(width=max(Console().width, 170))
    with tempfile.TemporaryDirectory() as folder:
        config = resolve({"log": asked.log or Path(folder) / "demo.db", "tokens": asked.tokens})
        console.print("labelling, collecting and scoring; with --log all of it is kept")
        with redirect_stdout(io.StringIO()):  # each of the commands prints tables of its own
            label_features(config, spec, False)
            gather_examples([config], spec, None, None)
            run_ids = _run_ids(config, features)
            for run_id in run_ids:
                score_labels(config, run_id, spec)
        with RunLog.open(config.log, read_only=True) as log:
            offline, named = (_scores(log, run_id) for run_id in run_ids)
            table = Table("texts", "what stands as the label", "AUROC", "95 %", "features", "ahead of", "by", "95 %")
            for row in _rows(log, config, offline, named):
                table.add_row(*_cells(row))
            console.print(table)
            for lack in report.unscored(offline.scores, ["embedding"], len(log.read(labels_of, run_ids[0]))):
                reasons = "; ".join(f"{n} {reason}" for reason, n in lack.reasons)
                console.print(f"The offline explainer's labels: {lack.n} of {lack.of} features unscored: {reasons}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="of the demo's text, to find examples in")
    parser.add_argument("--log", type=Path, help="keeps everything there, and goes on from there")
    return parser.parse_args()


def _run_ids(config: RunConfig, features: Sequence[int]) -> tuple[int, int]:
    """The offline explainer's run, and one whose labels are the names of the known concepts."""
    with RunLog.open(config.log) as log:
        offline = log.read(chosen_run, None)
        card = SubjectCard(**offline.subject)
        identity = RunIdentity(subject=card, settings={}, explainer="known concepts", templates={})
        run = log.begin_run(identity, features)
        for feature in sorted({*features} - run.done):
            name = load_truth().features[feature].name
            outcome = Outcome(feature=feature, status="labelled", label=name, rounds=1)
            log.write(add_label, run.run_id, outcome).result()
        return offline.run_id, run.run_id


def _scores(log: RunLog, run_id: int) -> Scores:
    scoring = log.read(scorings_of, run_id)[0]
    return Scores(log.read(scores_of, scoring.scoring_id), scoring.corpus_id)


def _rows(log: RunLog, config: RunConfig, offline: Scores, named: Scores) -> Iterator[Row]:
    for part in (HELD_OUT, NEW_WORDS):
        for line in report.score_summaries(offline.scores, config.seed):
            if line.part == part:
                ahead = WORDS["label"] if line.ahead else ""
                negated = None if line.ahead is None else _negated(line.ahead)
                yield Row(part, WORDS[line.variant], line.mean, ahead, negated)
        names, others = named.values("label", part), named.values("shuffled", part)
        yield _compared(config, part, "a known concept's name", names, "another concept's name", others)
        yield Row(part, "another concept's name", mean([*others.values()], config.seed))
        oracle = _oracle(log, config, named, part)
        yield _compared(config, part, "an oracle: the concept's words", oracle, "a known concept's name", names)


def _negated(e: Estimate) -> Estimate:
    """A row's lead from the report's, which is the labels' lead over it."""
    return Estimate(*(None if x is None else -x for x in (e.value, e.high, e.low)), e.n, e.reason)


def _compared(
    config: RunConfig,
    part: str,
    what: str,
    values: dict[int, float | None],
    than: str,
    control: dict[int, float | None],
) -> Row:
    both = sorted(values.keys() & control.keys())
    ahead = paired_difference([values[f] for f in both], [control[f] for f in both], config.seed)
    return Row(part, what, mean([*values.values()], config.seed), than, ahead)


def _oracle(log: RunLog, config: RunConfig, named: Scores, part: str) -> dict[int, float | None]:
    """AUROC of saying of each text whether it holds a word of the concept, on the very texts that were scored.

    For a yes and no the AUROC is the balanced accuracy.
    """
    found: dict[int, float | None] = {}
    for score in named.scores:
        if (score.variant, score.part) != ("label", HELD_OUT) or score.value is None:
            continue
        held_out, shown = (_texts(log, named.corpus_id, score.feature, split) for split in ("held_out", "shown"))
        sides = ScoringExamples.of(held_out, shown, config.score, config.seed)
        texts = {key_of(cut(e)): cut(e) for e in (*sides.activating, *sides.negatives)}
        assert texts.keys() == {item["key"] for item in score.items}
        chosen = [e for key, e in texts.items() if part == HELD_OUT or key not in sides.on_old_words]
        said = [float(_holds(example, load_truth().features[score.feature].name)) for example in chosen]
        found[score.feature] = auroc([example.kind == "activating" for example in chosen], said).value
    return found


def _texts(log: RunLog, corpus_id: int, feature: int, split: Split) -> Sequence[Example]:
    found = log.read(examples_of, corpus_id, feature, split, ["activating"] if split == "shown" else None)
    return found.examples if found else ()


def _holds(example: Example, concept: str) -> bool:
    meanings = load_world().concepts_of_word
    return any(concept in meanings[word] for word in word_types(example.tokens) if word is not None)


def _cells(row: Row) -> tuple[str, ...]:
    value, interval = _words(row.found)
    lead, spread = ("", "") if row.ahead is None else _words(row.ahead)
    return row.part.replace("_", " "), row.what, value, interval, str(row.found.n), row.ahead_of, lead, spread


def _words(e: Estimate) -> tuple[str, str]:
    return "" if e.value is None else f"{e.value:.3f}", "" if e.low is None else f"[{e.low:.3f}, {e.high:.3f}]"


if __name__ == "__main__":
    main()
