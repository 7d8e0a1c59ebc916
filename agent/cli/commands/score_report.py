"""Tells what scoring has found: tables, pictures, what was not scored and why, and what it cost."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agent.cli.terminal.display import scores_table, source_scores_table
from agent.evidence.printable import printable
from agent.log.calls import spent_by
from agent.log.examples import examples_of
from agent.log.labels import LabelRow
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from agent.log.scores import ScoreRow, scores_of
from eval.pictures import score_figure
from eval.plots import save
from eval.scoring import report
from eval.scoring.run_verdict import verdict_sentences
from eval.scoring.source_scores import source_scores
from eval.scoring.variants import variant_words
from probes.errors import InterpretError
from probes.examples import FeatureExamples


@dataclass(frozen=True)
class ScoredRun:
    """The outcome of scoring one run."""

    status: int
    """The exit status: 1 if a budget ended it, else 0."""
    run_id: int
    scoring_id: int
    rows: Sequence[LabelRow]
    """The labels that were to be scored."""
    scorers: Sequence[str]
    corpus_id: int | None
    stopped: InterpretError | None = None
    """The reason for an early end; None if all labels were scored."""


def run_scores(log: RunLog, scored: Iterable[ScoredRun]) -> list[ScoreRow]:
    """Returns the scores of these runs' labels."""
    return [
        score
        for one in scored
        for score in log.read(scores_of, one.scoring_id)
        if score.feature in {row.feature for row in one.rows}
    ]


def plot_scores(screen: Console, scores: Sequence[ScoreRow], name: str, seed: int, path: Path) -> None:
    """Draws the scores of one run or of several."""
    save(score_figure(scores, seed, f"{name}: labels on held-out texts, beside controls"), path)
    screen.print(Text(f"Wrote {path}."))


def _lack_words(lack: report.UnscoredGroup) -> Iterator[str]:
    of_what = "" if lack.variant == "label" else f", {variant_words(lack.variant)}"
    if lack.n:
        yield f"{lack.scorer}{of_what}: {lack.n:,} of {lack.of:,} features unscored: {_reasons(lack.reasons)}"
    if lack.n_texts:
        texts = f"{lack.n_texts:,} of {lack.of_texts:,} texts left out of scores"
        yield f"{lack.scorer}{of_what}: {texts}: {_reasons(lack.text_reasons)}"


def baselines_of(log: RunLog, scored: ScoredRun) -> list[FeatureExamples]:
    """Returns what the run's texts came with: labels of others, with scores of theirs."""
    if scored.corpus_id is None:
        return []
    found = (log.read(examples_of, scored.corpus_id, row.feature, kinds=[]) for row in scored.rows)
    return [one for one in found if one is not None]


def print_sources(screen: Console, found: Iterable[FeatureExamples], scores: Sequence[ScoreRow], seed: int) -> None:
    """Prints the scores that sources give labels of their own, if there are any."""
    if lines := source_scores(found, scores, seed):
        screen.print()
        screen.print(source_scores_table(lines))
        screen.print(Text("Sources' scores are of their own labels, texts and judges; ours are of this scoring."))


def print_lacks(screen: Console, scores: Sequence[ScoreRow], scorers: Iterable[str], n_features: int) -> None:
    """Prints what was not scored, and why."""
    for lack in report.unscored(scores, scorers, n_features):
        for sentence in _lack_words(lack):
            screen.print(Text(printable(sentence)))


def _reasons(counted: Sequence[tuple[str, int]]) -> str:
    return "; ".join(f"{n:,} {reason}" for reason, n in counted[:4])


def print_scores(screen: Console, log: RunLog, scored: ScoredRun, seed: int) -> None:
    """Prints the scores of one run's labels, what was not scored, and what they cost."""
    scores = run_scores(log, [scored])
    spent = log.read(spent_by, scored.run_id, scored.scoring_id)
    screen.print()
    screen.print(scores_table(report.score_summaries(scores, seed)))
    screen.print()
    print_lacks(screen, scores, scored.scorers, len(scored.rows))
    print_sources(screen, baselines_of(log, scored), scores, seed)
    for run_id in dict.fromkeys(row.run_id for row in scored.rows):
        for sentence in verdict_sentences(log, log.read(chosen_run, run_id)):
            screen.print(Text(printable(sentence)))
    if spent.calls:
        dollars = "cost unknown" if spent.cost_usd is None else f"${spent.cost_usd:,.4f}"
        screen.print(Text(f"{spent.calls:,} calls, {spent.tokens:,} tokens, {dollars}."))
