"""Prints `interpret log` and `interpret show`: a log read back, for people or as JSON."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from agent.cli.commands.addressing import find_feature
from agent.cli.commands.choosing import LabelCriteria, choose, in_order
from agent.cli.commands.read_log import read_log
from agent.cli.terminal.batches import batches_table
from agent.cli.terminal.behaviour import continuations_table, neighbours_table
from agent.cli.terminal.display import (
    calls_table,
    console,
    facts,
    feature_scores_table,
    projection_lines,
    runs_table,
    token_line,
)
from agent.cli.terminal.experiment import experiment_table
from agent.cli.terminal.labels import browsed_table
from agent.cli.terminal.outline import tree_outline
from agent.cli.terminal.sweep import sweep_table
from agent.errors import LogError
from agent.evidence.basis import cited_lines
from agent.evidence.branches import Trim
from agent.evidence.digest import digest
from agent.evidence.printable import printable
from agent.evidence.sense_words import counts_words, scope_lines
from agent.groups import RunGroup, group_of, layer_of
from agent.log.batches import batches_of
from agent.log.browsing import BrowsedLabel
from agent.log.calibrations import Given, probability_of
from agent.log.calls import CallRow, calls_of
from agent.log.comparisons import ClassRow, classes_of
from agent.log.evidence import evidence_rounds
from agent.log.examples import corpora_of, examples_of
from agent.log.labels import LabelRow, labels_of
from agent.log.reviews import ReviewRow, latest_verdict, reviews_of, verdicts_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, chosen_run
from agent.log.scores import ScoreRow, ScoringRow, latest_scores
from agent.schema import SenseResult
from eval.scoring.escalation import escalation_sentences
from eval.scoring.variants import escalates, proposes_again
from probes.behaviour import Continuations, Neighbours
from probes.evidence import Evidence, Experiment, Projection, Rank, Sweep, TokenList, Tree
from probes.examples import FeatureExamples

if TYPE_CHECKING:
    from agent.web.agreement import ReviewerAgreement

_TREE_NODES = 40


def show_runs(path: Path, as_json: bool) -> None:
    """Every run of the log, and the batches that their questions went in. Raises LogError."""
    with read_log(path) as log:
        runs, batches = log.read(all_runs), log.read(batches_of)
        if as_json:
            of_run = {run.run_id: [asdict(row) for row in batches if row.run_id == run.run_id] for run in runs}
            click.echo(json.dumps([asdict(run) | {"batches": of_run[run.run_id]} for run in runs]))
            return
        screen = console()
        screen.print(runs_table(runs) if runs else Text(f"{path} holds no run yet."))
        if batches:
            screen.print()
            screen.print(batches_table(batches))


def show_labels(path: Path, run_id: int, wanted: LabelCriteria, as_json: bool) -> None:
    """The labels of a run that were asked for, with those of the other layers of its command, and how far its reviewers
    agree. Raises LogError, SettingsError."""
    with read_log(path) as log:
        group = group_of(log.read(chosen_run, run_id), log.read(all_runs))
        chosen = [choose(log, run, wanted) for run in group.runs]
        labels = in_order([found.labels for found in chosen], wanted)
        classes = {
            item.label.label_id: found.classes[item.label.feature]
            for found in chosen
            for item in found.labels
            if item.label.feature in found.classes
        }
        if as_json:
            click.echo(json.dumps([_json(item, classes.get(item.label.label_id), group) for item in labels]))
            return
        agreed = [line for run in group.runs for line in (*agreement_lines(log, run.run_id), *verdict_lines(log, run))]
        if labels:
            console().print(browsed_table(labels, chosen[0].scorer, classes, group.address))
        else:
            none = _none_words(path, group.runs[0]) if wanted.is_everything else "No label of this run matches."
            console().print(Text(none))
        if group.is_many and wanted.is_everything:
            print_layers(console(), log, group)
        for line in agreed:
            console().print(Text(line))


def print_layers(screen: Console, log: RunLog, group: RunGroup) -> None:
    """Prints the layers of a command beside one another."""
    from agent.cli.terminal.layers import layers_table  # with numpy, which the labels of one run do not wait for
    from eval.layer_table import layer_table

    screen.print()
    screen.print(layers_table(layer_table(log, group)))


def _none_words(path: Path, run: RunSummary) -> str:
    if run.kind != "probe":
        return "No label yet."
    return (
        f"Run {run.run_id} had no explainer, so no label: the evidence of {run.n_probed:,} features is in {path}; its "
        "command with another --llm labels from it."
    )


def _json(item: BrowsedLabel, found: ClassRow | None, group: RunGroup) -> dict[str, Any]:
    return {
        **asdict(item.label),
        **({"layer": layer_of(group.of_run(item.label.run_id))} if group.is_many else {}),
        "probability": item.probability,
        "score": item.score,
        "verdict": latest_verdict(item.reviews),
        "kind": found and found.kind,
        "captured_by": found and found.captured,
    }


def agreement_lines(log: RunLog, run_id: int) -> Iterator[str]:
    """Yields how far each two reviewers of a run agree, on all that both judged and on what both judged blind."""
    given = log.read(verdicts_of, run_id)
    if len(given) < 2:
        return
    from agent.web.agreement import agreements  # with scipy, which nothing else here waits for

    for blind in (False, True):
        for pair in agreements(log.read(verdicts_of, run_id, blind=blind), seed=0):
            how = "blind" if blind else "in all"
            yield f"{pair.one} and {pair.other}, {how}: {_kappa_words(pair)}"


def verdict_lines(log: RunLog, run: RunSummary) -> Iterator[str]:
    """Yields what escalating bought, and whether the agent beat its first answer and one shot, of a run that could
    change its answers."""
    if not (proposes_again(run) or escalates(run)):
        return
    from eval.scoring.run_verdict import verdict_sentences  # with numpy, which nothing else here waits for

    yield from escalation_sentences(log, run)
    yield from verdict_sentences(log, run)


def _kappa_words(pair: "ReviewerAgreement") -> str:
    kappa = pair.kappa
    same = f"the same on {pair.n_agreed:,} of {kappa.n:,} labels"
    if kappa.value is None:
        return f"{same}; no kappa: {kappa.reason}."
    interval = "" if kappa.low is None or kappa.high is None else f" [{kappa.low:.2f}, {kappa.high:.2f}]"
    return f"{same}, Cohen's kappa {kappa.value:.2f}{interval}."


def show_feature(path: Path, address: str, run_id: int | None, rank: Rank) -> None:
    """Everything about one feature in one run: label, then round after round, then the calls.

    The phrases of its trees are ordered by `rank`. Raises LogError, and FeatureError for no address of a feature.
    """
    with read_log(path) as log:
        run, feature = find_feature(log, address, run_id)
        name = partial(group_of(run, log.read(all_runs)).address, run.run_id)
        rows = log.read(labels_of, run.run_id, features=[feature])
        rounds = log.read(evidence_rounds, run.run_id, feature)
        calls = [call for call in log.read(calls_of, run.run_id, feature) if call.scoring_id is None]
        scored = log.read(latest_scores, run.run_id, rows[0].label_id) if rows else None
        sorted_as = log.read(classes_of, run.subject["fingerprint"]).get(feature)
        reviews = log.read(reviews_of, [rows[0].label_id]) if rows else []
        given = log.read(probability_of, rows[0].label_id) if rows else None
        examples = _examples(log, run, feature)
        known = LoggedFeature(rows, rounds, calls, scored, sorted_as, reviews, given, examples)
        _print_feature(path, run, feature, known, rank, name)


_AROUND = 16
"""Tokens shown on each side of an example's peak."""


@dataclass(frozen=True)
class LoggedFeature:
    """The log's record of one feature of a run."""

    rows: Sequence[LabelRow]
    """The row of its label, if it has one."""
    rounds: Mapping[int, Sequence[Evidence]]
    calls: Sequence[CallRow]
    """Calls of the loop, without those of scorers."""
    scored: tuple[ScoringRow, list[ScoreRow]] | None
    sorted_as: ClassRow | None
    reviews: Sequence[ReviewRow]
    given: Given | None
    """The calibrated probability that the label is right."""
    examples: FeatureExamples | None
    """Those on which it activates; None if none were collected."""


def _examples(log: RunLog, run: RunSummary, feature: int) -> FeatureExamples | None:
    """Returns the activating examples of the run's own corpus, else of the latest that has the feature."""
    corpora = log.read(corpora_of, str(run.subject["fingerprint"]))
    corpora.sort(key=lambda corpus: corpus.identity != run.settings.get("corpus"))
    found = (log.read(examples_of, corpus.corpus_id, feature, kinds=["activating"]) for corpus in corpora)
    return next((examples for examples in found if examples is not None), None)


def _print_feature(
    path: Path, run: RunSummary, feature: int, known: LoggedFeature, rank: Rank, name: Callable[[int], str]
) -> None:
    rows, rounds = known.rows, known.rounds
    if not rows and not rounds:
        raise LogError(
            f"Run {run.run_id} in {path} has nothing on feature {name(feature)}; it was asked for "
            f"{run.features or 'none'}; name another run with --run, which interpret log lists."
        )
    screen = console()
    screen.print(
        facts(
            [
                *_where(run, feature, name),
                *_verdict(rows),
                *_given_line(known.given),
                *_class_line(known.sorted_as),
                *_example_lines(known.examples),
                *map(_review_line, known.reviews),
            ]
        )
    )
    everything = [item for evidence in rounds.values() for item in evidence]
    _print_citations(screen, rows, everything, float(run.subject["default_scale"]))
    for number, evidence in rounds.items():
        devices = ", ".join(dict.fromkeys(item.device for item in evidence if item.device))
        _rule(screen, printable(f"round {number}, on {devices}" if devices else f"round {number}"))
        _print_evidence(screen, evidence, rank, name)
    if known.calls:
        _rule(screen, "calls")
        screen.print(calls_table(known.calls))
    if known.scored is not None:
        scoring, scores = known.scored
        _rule(screen, f"scores, judge {scoring.judge}")
        screen.print(feature_scores_table(scores))


def _example_lines(found: FeatureExamples | None) -> Iterator[tuple[str, str]]:
    """Yields how active the feature is, and the example on which it is most."""
    if found is not None and found.activity is not None:
        activity = found.activity
        share = f"{100 * activity.frequency:.3g} % of {activity.n_tokens:,} tokens"
        yield "activity", f"active at {share}, at most {activity.maximum:.3g}"
    if found is not None and found.examples:
        best = max(found.examples, key=lambda example: example.peak)
        at = best.activations.index(best.peak)
        before, after = best.tokens[max(0, at - _AROUND) : at], best.tokens[at + 1 : at + 1 + _AROUND]
        yield "for example", printable(f"{''.join(before)}[{best.tokens[at]}]{''.join(after)}")


def _where(run: RunSummary, feature: int, name: Callable[[int], str]) -> list[tuple[str, str]]:
    page = run.subject.get("neuronpedia")
    lines = [
        ("feature", f"{name(feature)} of {run.subject['name']}, {run.subject['hook']}"),
        ("run", f"{run.run_id}, {run.created[:16].replace('T', ' ')} UTC, explainer {run.explainer}"),
    ]
    return [*lines, ("page", f"{page}/{feature}")] if page else lines


def _verdict(rows: Sequence[LabelRow]) -> list[tuple[str, str]]:
    if not rows:
        return [("status", "no label yet")]
    row = rows[0]
    said = {
        "status": row.status,
        "label": row.label,
        "explanation": row.explanation,
        "confidence": "" if row.confidence is None else f"{row.confidence:.2f}",
        "rounds": str(row.rounds),
        "reason": row.reason,
    }
    lines = [(name, text) for name, text in said.items() if text]
    return [*lines, *_sense_lines(row.senses), *scope_lines(row)]


def _sense_lines(senses: Sequence[SenseResult]) -> Iterator[tuple[str, str]]:
    """One for each sense; a label of one thing that was not tested is told by its own line."""
    for number, sense in enumerate(senses, start=1):
        name = f"sense {number}" if len(senses) > 1 else "tests"
        words = f"{sense.text}: {counts_words(sense)}" if len(senses) > 1 else counts_words(sense)
        if len(senses) > 1 or sense.n_positive or sense.n_near_misses:
            yield name, words


def _given_line(given: Given | None) -> list[tuple[str, str]]:
    return [] if given is None else [("probability", f"of being right: {given}")]


def _class_line(found: ClassRow | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    return [("class", f"{found}, by the taxonomy of comparison {found.comparison_id}, {found.created[:10]}")]


def _review_line(review: ReviewRow) -> tuple[str, str]:
    words = ", ".join(word for word in (review.verdict, review.label, review.note) if word)
    how = " (blind)" * review.blind + " (undone)" * review.undone
    return "review", f"{words}{how}, by {review.reviewer}, {review.created[:10]}"


def _print_citations(screen: Console, rows: Sequence[LabelRow], evidence: Sequence[Evidence], scale: float) -> None:
    lines = cited_lines(rows[0].evidence, digest(evidence, scale)) if rows else []
    if lines:
        screen.print(
            facts(
                ("based on" if place == 0 else "", f"{line['id']}  {line['text']}  {line['value']:.3g}")
                for place, line in enumerate(lines)
            )
        )


def _print_evidence(screen: Console, evidence: Sequence[Evidence], rank: Rank, name: Callable[[int], str]) -> None:
    for item in evidence:
        match item:
            case Tree():
                screen.print(tree_outline(item, Trim(_TREE_NODES, rank=rank)))
            case TokenList():
                screen.print(token_line(item))
            case Projection():
                screen.print(projection_lines(item))
            case Sweep():
                screen.print(sweep_table(item))
            case Experiment():
                screen.print(experiment_table(item, screen.color_system is not None and not screen.no_color))
            case Neighbours():
                screen.print(neighbours_table(item, name))
            case Continuations():
                screen.print(continuations_table(item, name))
        screen.print()


def _rule(screen: Console, title: str) -> None:
    screen.print()
    screen.print(Text(title, style="bold underline"))
