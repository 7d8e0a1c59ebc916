"""One run as its user sees it: what is about to happen, how far it is, and the labels with what they rest on.

Knows the order of things; the work is in `agent.run`, the words and tables in `agent.terminal`.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.text import Text

from agent.calls.admission import Admission
from agent.commands.base_prompt import find_prompts, prompt_lines
from agent.commands.doctor import keys_seen, subject_words
from agent.commands.estimate import batch_words, budget_words, check_budget, estimate
from agent.commands.exit_status import GOES_ON, Interrupted, exit_status, finishing
from agent.commands.recommended import taken_up
from agent.commands.shown_texts import maxima_for, shown_texts
from agent.commands.token_pass import read_tokens
from agent.config import RunConfig
from agent.evidence.printable import printable
from agent.llm import EXPLAINERS, make_explainer
from agent.llm.base import Explainer
from agent.loop import system_prompt
from agent.maxima import Maxima
from agent.planning import Planner
from agent.run import RunReport, identity_of, planner_of, run_features
from agent.runlog import LabelRow, RunLog, RunRow, Spent
from agent.schema import Outcome
from agent.store.reading import find_run
from agent.terminal.basis import basis_of
from agent.terminal.display import console, facts, labels_table, spread
from agent.terminal.progress import progress
from eval.scoring.known import agreement, known_concepts
from eval.scoring.shown_texts import TRYOUT_QUESTIONS, ShownTexts
from probes.adapter import read_adapter
from probes.errors import InterpretError
from probes.evidence import Evidence
from probes.features import parse_features
from probes.settings import AUTO
from probes.subject import Subject, load_subject

_ROWS = 40


class RunScreen:
    """Tells how a run goes; a context, so that the bar is gone whatever happens."""

    def __init__(self, console: Console, features: Sequence[int]) -> None:
        self._console = console
        self._features = features
        self._stack = ExitStack()
        self._tell: Callable[[Outcome], None]

    def begun(self, run: RunRow, admission: Admission) -> None:
        """The run's number, then its progress."""
        n_done = len(run.done.intersection(self._features))
        self._console.print(facts([("run", _begun(run, len(self._features), n_done))]))
        n_left = len(self._features) - n_done
        if n_left:
            self._tell = self._stack.enter_context(progress(self._console, n_left, admission))

    def told(self, outcome: Outcome) -> None:
        """One more feature."""
        self._tell(outcome)

    def tell(self, sentence: str) -> None:
        """What became of a batch."""
        self._console.print(Text(printable(sentence)))

    def stopping(self, reason: InterpretError) -> None:
        """What is in flight will be finished."""
        self._console.print(finishing(reason))

    def __enter__(self) -> "RunScreen":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def label_features(config: RunConfig, spec: str, new: bool, dry: bool = False) -> int:
    """Runs, prints, and returns the exit status: 1 where some of the features failed, else 0. Raises InterpretError.

    `dry` stops after the opening lines: nothing is probed, asked or logged.
    """
    screen = console()
    explainer = make_explainer(
        config.llm, config.base_url or "", config.answer_tokens, config.effort, config.timeout, config.batch
    )
    note = explainer.check()
    with ExitStack() as stack:
        log = None if dry and not config.log.exists() else stack.enter_context(RunLog.open(config.log))
        subject = load_subject(config.subject)
        features = parse_features(spec, subject.card.n_features, config.seed)
        if config.probe.vector.adapter is not None:
            read_adapter(config.probe.vector.adapter, subject.card)  # refused now, not feature by feature
        if config.probe.tree.prompt == AUTO or explainer.forms:
            find_prompts(screen, subject)
        texts = shown_texts(config, explainer, subject, log, features, new)
        material = texts.shown
        maxima = maxima_for(config, subject, log, material, features)
        plain = identity_of(config, subject, explainer, material, maxima)

        def is_begun() -> bool:
            return log is not None and not new and log.ask(find_run, plain) is not None

        taken = taken_up(config, log, subject.card, is_begun)
        config = taken.config
        identity = identity_of(config, subject, explainer, material, maxima)
        done = log.done(identity) if log and not new else frozenset()
        todo = [feature for feature in features if feature not in done]
        lines = [
            ("subject", subject_words(subject.card)),
            *taken.advice,
            *prompt_lines(config, subject),
            *_explainer_lines(explainer, note),
            ("features", f"{len(features):,} of {subject.card.n_features:,} ({spec})"),
            *texts.lines,
            *_expected_lines(config, explainer, len(todo), planner_of(config, subject, explainer, maxima), material),
            ("log", "; ".join(filter(None, (str(config.log), log.journal_note if log else None)))),
        ]
        check_budget(config, explainer)
        screen.print(facts(lines))
        return (
            0 if dry or log is None else _run(screen, config, subject, explainer, log, features, new, material, maxima)
        )


def _run(
    screen: Console,
    config: RunConfig,
    subject: Subject,
    explainer: Explainer,
    log: RunLog,
    features: Sequence[int],
    new: bool,
    material: ShownTexts | None,
    maxima: Maxima | None,
) -> int:
    read_tokens(screen, subject, config.weights_plan)
    with RunScreen(screen, features) as watch:
        try:
            run = run_features(
                config, subject, explainer, log, features, new, watch, material=material, maxima=maxima, tell=watch.tell
            )
            report = asyncio.run(run)
        except KeyboardInterrupt:  # where the event loop handles no signals
            raise Interrupted(GOES_ON) from None
    rows = log.labels(report.run_id, features=features)
    if rows:
        _print_labels(screen, config, log, rows, subject.card.default_scale)
        screen.print(Text(_closing(config, report, rows, log.spent(report.run_id), len(features))))
    return exit_status(screen, report.stopped) or int(any(row.status == "failed" for row in rows))


def _explainer_lines(explainer: Explainer, note: str) -> Iterator[tuple[str, str]]:
    yield "explainer", _explainer_words(explainer)
    if explainer.forms:
        yield "server", explainer.address or "the provider's own"
    if note:
        yield "note", note


def _expected_lines(
    config: RunConfig, explainer: Explainer, n_features: int, planner: Planner, material: ShownTexts | None
) -> Iterator[tuple[str, str]]:
    """Calls, tokens and dollars, where there is a server that will charge for them."""
    if explainer.forms:
        system = system_prompt(planner, material is not None)
        questions = 1 + TRYOUT_QUESTIONS * config.feedback
        expected = estimate(explainer, system, n_features, config.rounds, questions)
        yield "expected", f"{expected}{batch_words(config)}{budget_words(config)}"


def _explainer_words(explainer: Explainer) -> str:
    name = f"{explainer.provider}:{explainer.model}"
    if explainer.forms:
        return name
    add = " or ".join(f"--llm {provider}" for provider in EXPLAINERS if provider != explainer.provider)
    seen = ", ".join(keys_seen())
    keys = f"{seen} is set but not used: add {add}" if seen else f"for one, set a key and add {add}"
    return f"{name}, a rule-based baseline and no language model ({keys})"


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


def _closing(config: RunConfig, report: RunReport, rows: Sequence[LabelRow], spent: Spent, n_features: int) -> str:
    counts = ", ".join(f"{sum(row.status == s for row in rows):,} {s}" for s in ("labelled", "abstained", "failed"))
    left = f", {n_features - len(rows):,} are left" if len(rows) < n_features else ""
    cost = "" if not spent.tokens and not spent.cost_usd else f" {_spent_words(spent)}"
    return (
        f"{len(rows):,} features: {counts}{left}, in {report.seconds:.1f} s.{cost} Everything is in {config.log}; "
        f"for one feature: interpret show {rows[0].feature} --run {report.run_id} --log {config.log}"
    )


def _spent_words(spent: Spent) -> str:
    dollars = "cost unknown" if spent.cost_usd is None else f"${spent.cost_usd:,.4f}"
    return f"The run has made {spent.calls:,} calls so far: {spent.tokens:,} tokens, {dollars}."
