"""Runs a labelling in the terminal: announces it, shows its progress, prints the labels with their evidence.

The work is in `agent.run`, the words and tables are in `agent.cli.terminal`.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from rich.console import Console
from rich.text import Text

from agent.calls.admission import Admission
from agent.cli.commands.base_prompt import find_prompts, prompt_lines
from agent.cli.commands.doctor import keys_seen, subject_words
from agent.cli.commands.dry_run import log_of
from agent.cli.commands.escalating import escalated, escalation_lines
from agent.cli.commands.estimate import batch_words, budget_words, check_budget, estimate
from agent.cli.commands.exit_status import GOES_ON, CommandInterrupt, exit_status, finishing
from agent.cli.commands.layers import with_what_is_left
from agent.cli.commands.opening import check_escalation
from agent.cli.commands.recommended import taken_up
from agent.cli.commands.run_texts import run_texts, with_texts
from agent.cli.commands.token_pass import read_tokens
from agent.cli.terminal.display import console, facts, labels_table, spread
from agent.cli.terminal.progress import progress
from agent.config import RunConfig
from agent.evidence.basis import basis_of
from agent.evidence.printable import printable
from agent.groups import layer_of
from agent.llm import EXPLAINERS, make_explainer
from agent.llm.base import Explainer
from agent.llm.none import NONE
from agent.log.calibrations import probabilities_of
from agent.log.calls import Spent, spent_by
from agent.log.evidence import evidence_rounds
from agent.log.labels import LabelRow, labels_of
from agent.log.naming import log_option
from agent.log.run_log import RunLog
from agent.log.runs import RunRow, RunSummary, all_runs, chosen_run, features_done
from agent.pool.choice import on_first_device, workforce_of
from agent.run import RunReport, run_features
from agent.run_spec import LoggedCircuit, RunSpec, explainer_name
from agent.schema import Outcome
from agent.shards import Shard
from eval.calibration.applying import give_probabilities
from eval.paying_rounds import PayingRounds, paying_rounds
from eval.scoring.escalation import escalation_sentences
from eval.scoring.known import agreement, known_concepts
from eval.scoring.run_verdict import verdict_sentences
from probes.errors import InterpretError
from probes.evidence import Evidence
from probes.features import parse_features
from probes.ghost.adapter import read_adapter
from probes.presets import SubjectSource
from probes.settings import AUTO
from probes.subject import Subject, load_subject

_ROWS = 40
_ALL_ROWS = 60
"""Up to which all are shown."""


class RunScreen:
    """Shows a run's progress; a context, so that the bar is removed whatever happens."""

    def __init__(self, console: Console, features: Sequence[int]) -> None:
        self._console = console
        self._features = features
        self._stack = ExitStack()
        self._tell: Callable[[Outcome], None]

    def begun(self, run: RunRow, admission: Admission) -> None:
        """Prints the run's number, then shows its progress."""
        n_done = len(run.done.intersection(self._features))
        self._console.print(facts([("run", _begun(run, len(self._features), n_done))]))
        n_left = len(self._features) - n_done
        if n_left:
            self._tell = self._stack.enter_context(progress(self._console, n_left, admission))

    def told(self, outcome: Outcome) -> None:
        """Counts one more feature."""
        self._tell(outcome)

    def tell(self, sentence: str) -> None:
        """Prints a batch's progress."""
        self._console.print(Text(printable(sentence)))

    def stopping(self, reason: InterpretError) -> None:
        """Prints that calls in flight will be finished."""
        self._console.print(finishing(reason))

    def __enter__(self) -> "RunScreen":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@dataclass(frozen=True)
class LabelResult:
    """The outcome of a labelling command."""

    status: int
    """The exit status: 1 where some of the features failed, else 0."""
    run_id: int | None = None
    """None where nothing was run."""
    stopped: InterpretError | None = None
    """The reason for an early end; None if all features were done."""


@dataclass(frozen=True)
class LabelRequest:
    """The features to label, and how."""

    spec: str
    """The features as the user named them."""
    new: bool = False
    """True to begin another run where one could be resumed."""
    dry: bool = False
    """True to stop after the opening lines: nothing is probed, asked or logged."""
    shard: Shard | None = None
    """The share of the features that is labelled here."""
    features: Sequence[int] | None = None
    """The features, where they are chosen already."""
    circuit: LoggedCircuit | None = None
    """The graph that they are from."""
    saes: Sequence[str] = ()
    """The SAEs of the command, where there are several; labels are then left for the command to print."""
    others: Sequence[int] = ()
    """The runs that the command has made before this one, with which it shares its budget."""


def label_features(config: RunConfig, spec: str, new: bool, dry: bool = False, shard: Shard | None = None) -> int:
    """Runs, prints, and returns the exit status. Raises InterpretError."""
    return labelled(config, LabelRequest(spec, new, dry, shard)).status


def labelled(
    config: RunConfig, asked: LabelRequest, load: Callable[[SubjectSource], Subject] = load_subject
) -> LabelResult:
    """Does the same; returns the run's id too."""
    screen, spec, new, dry = console(), asked.spec, asked.new, asked.dry
    check_escalation(config)
    explainer = make_explainer(
        config.llm, config.base_url or "", config.answer_tokens, config.effort, config.timeout, config.batch
    )
    note = explainer.check()
    with ExitStack() as stack:
        log = stack.enter_context(log_of(config.log, dry))
        subject = load(on_first_device(config))
        features = asked.features
        if features is None:
            features = parse_features(spec, subject.card.n_features, config.seed, subject.card.layer)
        of_all_shards = features
        if asked.shard is not None:
            features, spec = asked.shard.of(features), f"{spec}, shard {asked.shard}"
        if not features:
            screen.print(Text(f"There is no feature in {spec}, so there is nothing to do."))
            return LabelResult(0)
        if config.probe.vector.adapter is not None:
            read_adapter(config.probe.vector.adapter, subject.card)  # refused now, not feature by feature
        if config.probe.tree.prompt == AUTO or explainer.forms:
            find_prompts(screen, subject)
        taken = taken_up(config, log, subject.card)
        config = taken.config
        paying = _paying(config, log, explainer, subject)
        run_spec = RunSpec(config, subject, explainer, circuit=asked.circuit, paying=paying.rounds, saes=asked.saes)
        run_spec = escalated(run_spec, log)
        texts = run_texts(run_spec, log, of_all_shards, new)  # the same ones in every shard: it is one run
        run_spec = with_texts(run_spec, texts)
        done = log.read(features_done, run_spec.identity) if log and not new else frozenset()
        todo = [feature for feature in features if feature not in done]
        lines = [
            ("subject", subject_words(subject.card)),
            *taken.advice,
            *prompt_lines(config, subject),
            *_explainer_lines(explainer, note),
            ("features", f"{len(features):,} of {subject.card.n_features:,} ({spec})"),
            *texts.lines,
            *_paying_lines(config, paying),
            *_expected_lines(run_spec, len(todo)),
            *escalation_lines(run_spec, log, len(todo)),
            ("log", "; ".join(filter(None, (str(config.log), log.journal_note if log else "which is not there yet")))),
        ]
        check_budget(config, explainer)
        screen.print(facts(lines))
        if dry or log is None:
            return LabelResult(0)
        run_spec = replace(
            run_spec, config=with_what_is_left(config, log, [(other, None) for other in _others(run_spec, log, asked)])
        )
        return _run(screen, run_spec, log, features, asked)


def _others(spec: RunSpec, log: RunLog, asked: LabelRequest) -> set[int]:
    """Returns the other runs of the command: those it has made, and unless all are new those it will go on with."""
    if not asked.saes or asked.new:
        return {*asked.others}
    group, layer = spec.identity.settings["group"], spec.subject.card.layer
    begun = {layer_of(run): run.run_id for run in log.read(all_runs) if run.settings.get("group") == group}
    return {run_id for other, run_id in begun.items() if other != layer}


def _run(screen: Console, spec: RunSpec, log: RunLog, features: Sequence[int], asked: LabelRequest) -> LabelResult:
    config, subject, explainer = spec.config, spec.subject, spec.explainer
    read_tokens(screen, subject, config.weights_plan)
    workforce = workforce_of(config, subject.card.dtype)
    if workforce is not None:
        screen.print(facts([("workers", str(workforce))]))
    with RunScreen(screen, features) as observer:
        try:
            work = run_features(spec, log, features, asked.new, observer, tell=observer.tell, workforce=workforce)
            report = asyncio.run(work)
        except KeyboardInterrupt:  # where the event loop handles no signals
            raise CommandInterrupt(GOES_ON) from None
    rows = log.read(labels_of, report.run_id, features=features)
    if explainer.provider == NONE:
        screen.print(Text(_probed_words(config, log.read(chosen_run, report.run_id), report, rows)))
    elif rows:
        run = log.read(chosen_run, report.run_id)
        give_probabilities(log, [run])
        if asked.saes:
            screen.print(facts([("layer", f"{subject.card.layer}: {_counts(report, rows, len(features))}")]))
        else:
            print_labels(screen, config, log, rows, {report.run_id: subject.card.default_scale})
            screen.print(Text(_closing(config, report, rows, log.read(spent_by, report.run_id), len(features))))
        for sentence in (*escalation_sentences(log, run), *verdict_sentences(log, run)):
            screen.print(Text(printable(sentence)))
    status = exit_status(screen, report.stopped) or int(any(row.status == "failed" for row in rows))
    return LabelResult(status, report.run_id, report.stopped)


def _paying(config: RunConfig, log: RunLog | None, explainer: Explainer, subject: Subject) -> PayingRounds:
    if config.least_gain is None or log is None:
        return PayingRounds({}, (), 0)
    name, fingerprint = explainer_name(explainer), subject.card.fingerprint
    return paying_rounds(log, name, fingerprint, config.rounds, config.least_gain)


def _paying_lines(config: RunConfig, paying: PayingRounds) -> Iterator[tuple[str, str]]:
    """Yields lines about the rounds that pay by the log's history, where `--least-gain` asks for them."""
    if config.least_gain is None:
        return
    if not paying.gains:
        known = f"of the {paying.n_features:,} features that the log knows of this explainer too few went on"
        yield "rounds", f"up to {config.rounds}: {known}, or going on added {config.least_gain:g} or more"
    for gain in paying.gains:
        yield "rounds", gain.sentence()


def _explainer_lines(explainer: Explainer, note: str) -> Iterator[tuple[str, str]]:
    yield "explainer", _explainer_words(explainer)
    if explainer.forms:
        yield "server", explainer.address or "the provider's own"
    if note:
        yield "note", note


def _expected_lines(spec: RunSpec, n_features: int) -> Iterator[tuple[str, str]]:
    """Calls, tokens and dollars, if there is a server that will charge for them."""
    if spec.explainer.forms:
        words = estimate(spec.config, spec.explainer, spec.planner, n_features, spec.material is not None)
        yield "expected", f"{words}{batch_words(spec.config)}{budget_words(spec.config)}"


def _explainer_words(explainer: Explainer) -> str:
    name = f"{explainer.provider}:{explainer.model}"
    if explainer.provider == NONE:
        return "none: features are probed without an explainer; later runs on this log label from the evidence"
    if explainer.forms:
        return name
    add = " or ".join(f"--llm {provider}" for provider in EXPLAINERS if provider not in (explainer.provider, NONE))
    seen = ", ".join(keys_seen())
    keys = f"{seen} is set but not used: add {add}" if seen else f"for one, set a key and add {add}"
    return f"{name}, a rule-based baseline, not a language model ({keys})"


def _begun(row: RunRow, n_features: int, n_done: int) -> str:
    if not row.resumed:
        return f"{row.run_id}, new"
    if n_done == n_features:
        return f"{row.run_id}, nothing left to do: all {n_features:,} features are done; --new starts another run"
    return f"{row.run_id}, resumed: {n_done:,} of {n_features:,} features were done before"


def print_labels(
    screen: Console,
    config: RunConfig,
    log: RunLog,
    rows: Sequence[LabelRow],
    scales: Mapping[int, float],
    address: Callable[[int, int], str] = lambda _run_id, feature: str(feature),
) -> None:
    """Prints some of the labels with their evidence, and how many agree with what is known of the features.

    `scales` are the subjects' default scales by run, `address` names a run's feature.
    """
    truth = known_concepts(config.subject)
    concepts = {feature: known.name for feature, known in truth.features.items()} if truth else {}
    shown = rows if len(rows) <= _ALL_ROWS else spread(rows, _ROWS)
    basis = {row.label_id: basis_of(row.evidence, _evidence(log, row), scales[row.run_id]) for row in shown}
    right = {label_id: p for run_id in scales for label_id, p in log.read(probabilities_of, run_id).items()}
    screen.print()
    screen.print(labels_table(shown, basis, concepts, right, address))
    screen.print()
    if len(shown) < len(rows):
        screen.print(
            Text(
                f"{len(shown)} of {len(rows):,} rows; all of them: interpret log {rows[0].run_id} "
                f"{log_option(config.log)}"
            )
        )
    found = agreement({row.feature: row.label or None for row in rows}, truth, config.seed) if truth else None
    if found:
        screen.print(Text(found.sentence()))


def _evidence(log: RunLog, row: LabelRow) -> list[Evidence]:
    rounds = log.read(evidence_rounds, row.run_id, row.feature)
    return [item for evidence in rounds.values() for item in evidence]


def _probed_words(config: RunConfig, run: RunSummary, report: RunReport, rows: Sequence[LabelRow]) -> str:
    failed = [row for row in rows if row.status == "failed"]
    why = f", the first: {failed[0].reason.rstrip('.')}" if failed else ""
    return (
        f"{report.outcomes['probed']:,} features probed, {len(failed):,} failed{why}, in {report.seconds:.1f} s"
        f"{_known_words(report)}. The evidence of {run.n_probed:,} is in {config.log}; the same command with another "
        "--llm labels from it."
    )


def _known_words(report: RunReport) -> str:
    return f", {report.n_known:,} pieces of evidence taken from other runs" if report.n_known else ""


def _closing(config: RunConfig, report: RunReport, rows: Sequence[LabelRow], spent: Spent, n_features: int) -> str:
    cost = "" if not spent.tokens and not spent.cost_usd else f" {spent_words(spent)}"
    return (
        f"{_counts(report, rows, n_features)}.{cost} Everything is "
        f"in {config.log}; for one feature: interpret show {rows[0].feature} --run {report.run_id} "
        f"{log_option(config.log)}"
    )


def _counts(report: RunReport, rows: Sequence[LabelRow], n_features: int) -> str:
    left = f", {n_features - len(rows):,} are left" if len(rows) < n_features else ""
    return f"{len(rows):,} features: {status_words(rows)}{left}, in {report.seconds:.1f} s{_known_words(report)}"


def status_words(rows: Sequence[LabelRow]) -> str:
    """Counts the labels of each status."""
    return ", ".join(f"{sum(row.status == s for row in rows):,} {s}" for s in ("labelled", "abstained", "failed"))


def spent_words(spent: Spent) -> str:
    """Formats what a run has used."""
    dollars = "cost unknown" if spent.cost_usd is None else f"${spent.cost_usd:,.4f}"
    return f"The run has made {spent.calls:,} calls so far: {spent.tokens:,} tokens, {dollars}."
