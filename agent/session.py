"""One run as its user sees it: what is about to happen, how far it is, and the labels with what they rest on.

Knows the order of things; the work is in `agent.run`, the words and tables in `agent.terminal.display`.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import click
from rich.console import Console
from rich.text import Text

from agent.config import RunConfig
from agent.doctor import keys_seen, subject_words
from agent.llm import make_explainer
from agent.llm.base import Explainer
from agent.run import run_features
from agent.runlog import LabelRow, RunLog, RunRow
from agent.schema import Outcome
from agent.terminal.basis import basis_of
from agent.terminal.display import console, facts, labels_table, spread
from agent.terminal.progress import progress
from eval.known import agreement, known_concepts
from probes.evidence import Evidence
from probes.features import parse_features
from probes.presets import SubjectCard
from probes.subject import load_subject

_ROWS = 40


class Interrupted(click.ClickException):
    """Ctrl-C, with what to do next."""

    exit_code = 130


class _Watch:
    """Prints how a run begins, then its progress; a context, so that the bar is gone whatever happens."""

    def __init__(self, screen: Console, features: Sequence[int]) -> None:
        self._screen = screen
        self._features = features
        self._stack = ExitStack()
        self._tell: Callable[[Outcome], None]

    def begun(self, row: RunRow) -> None:
        """To be called once, before any outcome."""
        n_done = len(row.done.intersection(self._features))
        self._screen.print(facts([("run", _begun(row, len(self._features), n_done))]))
        n_left = len(self._features) - n_done
        if n_left:
            self._tell = self._stack.enter_context(progress(self._screen, n_left))

    def told(self, outcome: Outcome) -> None:
        """To be called for each feature when it is done."""
        self._tell(outcome)

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def label_features(config: RunConfig, spec: str, new: bool) -> int:
    """Runs, prints, and returns the exit status: 1 where some of the features failed, else 0. Raises InterpretError."""
    screen = console()
    explainer = make_explainer(config.llm)
    with RunLog.open(config.log) as log:
        subject = load_subject(config.subject)
        features = parse_features(spec, subject.card.n_features, config.seed)
        screen.print(facts(_opening(config, explainer, subject.card, log.journal_note, spec, len(features))))
        with _Watch(screen, features) as watch:
            try:
                run = run_features(config, subject, explainer, log, features, new, watch.told, watch.begun)
                report = asyncio.run(run)
            except KeyboardInterrupt:
                raise Interrupted("Stopped; what is done is in the log, the same command goes on from there.") from None
        rows = log.labels(report.run_id, features=features)
        _print_labels(screen, config, log, rows, subject.card.default_scale)
        screen.print(Text(_closing(config, report.run_id, rows, report.seconds)))
    return int(any(row.status == "failed" for row in rows))


def _opening(
    config: RunConfig, explainer: Explainer, card: SubjectCard, note: str | None, spec: str, n_features: int
) -> list[tuple[str, str]]:
    return [
        ("subject", subject_words(card)),
        ("explainer", _explainer_words(explainer)),
        ("features", f"{n_features:,} of {card.n_features:,} ({spec})"),
        ("log", f"{config.log}; {note}" if note else str(config.log)),
    ]


def _explainer_words(explainer: Explainer) -> str:
    name = f"{explainer.provider}:{explainer.model}"
    if explainer.provider != "offline":
        return name
    seen = ", ".join(keys_seen())
    keys = f"{seen} is set in the environment but not used" if seen else "no key needed"
    return f"{name}, a rule-based baseline and no language model; hosted explainers are not in this version ({keys})"


def _begun(row: RunRow, n_features: int, n_done: int) -> str:
    if not row.resumed:
        return f"{row.run_id}, new"
    if n_done == n_features:
        return f"{row.run_id}, nothing left to do: all {n_features:,} features are done; --new starts another run"
    return f"{row.run_id}, resumed: {n_done:,} of {n_features:,} features were done before"


def _print_labels(
    screen: Console, config: RunConfig, log: RunLog, rows: Sequence[LabelRow], default_scale: float
) -> None:
    truth = known_concepts(config.subject)
    concepts = {feature: known.name for feature, known in truth.features.items()} if truth else {}
    shown = spread(rows, _ROWS)
    basis = {row.feature: basis_of(row.evidence, _evidence(log, row), default_scale) for row in shown}
    screen.print()
    screen.print(labels_table(shown, basis, concepts))
    screen.print()
    if len(shown) < len(rows):
        screen.print(
            Text(f"{len(shown)} of {len(rows):,} rows; all of them: interpret log {rows[0].run_id} --log {config.log}")
        )
    found = agreement({row.feature: row.label or None for row in rows}, truth, config.seed) if truth else None
    if found:
        screen.print(Text(found.sentence()))


def _evidence(log: RunLog, row: LabelRow) -> list[Evidence]:
    rounds = log.evidence_rounds(row.run_id, row.feature)
    return [item for evidence in rounds.values() for item in evidence]


def _closing(config: RunConfig, run_id: int, rows: Sequence[LabelRow], seconds: float) -> str:
    counts = ", ".join(f"{sum(row.status == s for row in rows):,} {s}" for s in ("labelled", "abstained", "failed"))
    return (
        f"{len(rows):,} features: {counts}, in {seconds:.1f} s. Everything is in {config.log}; for one feature: "
        f"interpret show {rows[0].feature} --run {run_id} --log {config.log}"
    )
