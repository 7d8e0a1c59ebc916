"""`interpret score`: a run's labels measured on held-out texts, beside their controls. Nothing is probed again.

The work is in `eval`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from agent.calls.admission import Admission
from agent.calls.asking import Asker
from agent.calls.batches import Batches
from agent.calls.budget import Limits, SpendingBudget
from agent.calls.gate import Gate
from agent.cli.commands.estimate import batch_words, budget_words, check_budget, estimate_of
from agent.cli.commands.exit_status import exit_status, finishing
from agent.cli.commands.layers import with_what_is_left
from agent.cli.commands.score_report import ScoredRun, plot_scores, print_scores, run_scores
from agent.cli.terminal.display import console, facts
from agent.cli.terminal.shards import waiting_words
from agent.config import RunConfig, ScoreSettings
from agent.errors import LogError
from agent.evidence.printable import printable
from agent.llm import make_explainer
from agent.llm.base import Explainer
from agent.log.calls import spent_by
from agent.log.corpus_shards import unfinished_shards
from agent.log.examples import CorpusRow, corpora_of, features_collected
from agent.log.labels import LabelRow, labels_of
from agent.log.naming import options_about
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, chosen_run
from agent.log.scores import ScoringIdentity, begin_scoring, find_scoring
from agent.run_spec import explainer_name, questions_to
from eval.embedders import SentenceEmbedder, SubjectEmbedder, recorded
from eval.plots import check_picture
from eval.scorers import SCORERS, ScorerTools, check_scorers, make_scorers
from eval.scorers.base import Embedder, needs_texts
from eval.scoring.expected import NOT_BEGUN, expected_questions
from eval.scoring.judge import TEMPLATES, LoggedJudge
from eval.scoring.known import known_concepts
from eval.scoring.score_run import Scoring
from eval.scoring.subject_runner import SubjectRunner
from probes.errors import InterpretError
from probes.features import parse_features
from probes.subject import Subject, load_subject
from prompts import template_hashes

_FREE = ("embedding",)
_ASKING = ("detection", "fuzzing")


@dataclass(frozen=True)
class Among:
    """The place of a run among those of other SAEs that one command scores."""

    features: Sequence[int] | None
    scorings: Sequence[tuple[int, int]]
    """Runs that were scored before it, with their scorings, with which it shares the budget."""


def score_labels(
    config: RunConfig,
    run_id: int | None,
    spec: str | None,
    corpus_id: int | None = None,
    plot: Path | None = None,
    dry: bool = False,
    subject: Subject | None = None,
    among: Among | None = None,
) -> ScoredRun:
    """Scores, prints and plots. Raises InterpretError.

    `dry` stops after the opening lines: nothing is asked or logged. `subject` is the config's, where it is loaded; a
    run is scored `among` those of other SAEs by a command that prints the scores of all.
    """
    screen = console()
    if plot is not None:
        check_picture(plot)
    if not config.log.exists():  # which is not made in vain
        raise LogError(f"{config.log} holds no run yet; interpret --features 0-20 makes one.")
    with RunLog.open(config.log, read_only=dry) as log, ExitStack() as stack:
        subject = subject or load_subject(config.subject)
        run = _run(log, run_id, subject)
        _check_subject(run, subject)
        rows = _rows(log, run, subject, config, spec if among is None else among.features)
        explainer = make_explainer(
            config.llm, config.base_url or "", config.answer_tokens, config.effort, config.timeout, config.batch
        )
        note, settings = explainer.check(), _checked_settings(config, explainer)
        corpus = _corpus(log, run, subject, rows, corpus_id, settings.scorers or ())
        embedder = _embedder(config, subject)
        if among is not None:
            config = with_what_is_left(config, log, among.scorings)
        identity = _identity(run, corpus, config, settings, explainer)
        scoring_id = (
            log.read(find_scoring, identity) or NOT_BEGUN if dry else log.write(begin_scoring, identity).result()
        )
        if not dry:
            log.hold_scoring(scoring_id)  # of two processes, each would pay for all answers, and spend the whole budget
        admission, batches, judge = _asking(screen, config, explainer, log, run.run_id, scoring_id)
        tools = ScorerTools(judge, stack.enter_context(SubjectRunner(subject)), embedder)
        scoring = Scoring(
            log=log,
            run=run,
            scoring_id=scoring_id,
            corpus_id=None if corpus is None else corpus.corpus_id,
            scorers=make_scorers(settings.scorers or (), tools),
            judge=judge,
            settings=settings,
            seed=config.seed,
            admission=admission,
            concepts=_concepts(config),
            nearest=_nearest(subject, rows, settings.scorers or ()),
        )
        screen.print(facts(_opening(scoring, corpus, explainer, note, rows, config)))
        texts = None if corpus is None else corpus.corpus_id
        scored = ScoredRun(0, run.run_id, scoring_id, rows, settings.scorers or (), texts)
        if dry:
            return scored
        _measure(screen, scoring, explainer, rows, batches)
        if among is None:
            print_scores(screen, log, scored, config.seed)
        if plot is not None:
            plot_scores(screen, run_scores(log, [scored]), f"Run {run.run_id}", config.seed, plot)
        return replace(scored, status=exit_status(screen, admission.reason), stopped=admission.reason)


def _asking(
    screen: Console, config: RunConfig, explainer: Explainer, log: RunLog, run_id: int, scoring_id: int
) -> tuple[Admission, Batches, LoggedJudge | None]:
    """Returns what lets calls in, what batches them, and the judge; None where the explainer cannot be asked."""
    budget = partial(_budget, config, log, run_id, scoring_id)

    def tell(sentence: str) -> None:
        screen.print(Text(printable(sentence)))

    admission = Admission(Gate(config.in_flight), budget())
    batches = Batches(config, explainer, log, admission, run_id, scoring_id, budget, tell)
    questions = questions_to(explainer, config)
    asker = Asker(explainer, log, run_id, admission, sender=batches.sender, questions=questions)
    return admission, batches, LoggedJudge(asker, scoring_id) if explainer.forms else None


def _checked_settings(config: RunConfig, explainer: Explainer) -> ScoreSettings:
    """Returns the scoring's settings. Raises SettingsError where the budget or the scorers do not fit the explainer."""
    check_budget(config, explainer)
    settings = _settings(config, explainer)
    check_scorers(settings.scorers or (), ("runner", "embedder", *(("judge",) if explainer.forms else ())))
    return settings


def _measure(
    screen: Console, scoring: Scoring, explainer: Explainer, rows: Sequence[LabelRow], batches: Batches
) -> None:
    """Scores all rows, or until something ends the scoring early."""

    async def measured() -> None:
        with _bar(screen, len(rows)) as bar:
            try:
                async with batches:
                    await scoring.score(rows, batches.config.in_flight, _Progress(screen, bar), batches.at_work)
            finally:
                await explainer.close()

    asyncio.run(measured())


class _Progress:
    """Shows the progress of a scoring."""

    def __init__(self, screen: Console, bar: Progress) -> None:
        self._screen = screen
        self._bar = bar

    def told(self, _row: LabelRow) -> None:
        """Counts one more feature."""
        self._bar.advance(self._bar.tasks[0].id)

    def stopping(self, reason: InterpretError) -> None:
        """Prints that calls in flight will be finished."""
        self._screen.print(finishing(reason))


def _run(log: RunLog, run_id: int | None, subject: Subject) -> RunSummary:
    """Returns that run, or the latest one, of this subject if there is any. Raises LogError."""
    latest = log.read(chosen_run, run_id)
    if run_id is not None or latest.subject["fingerprint"] == subject.card.fingerprint:
        return latest
    runs = [run for run in log.read(all_runs) if run.kind == "label"]
    own = [run for run in runs if run.subject["fingerprint"] == subject.card.fingerprint]
    return own[-1] if own else latest


def _check_subject(run: RunSummary, subject: Subject) -> None:
    if run.subject["fingerprint"] != subject.card.fingerprint:
        raise LogError(
            f"Run {run.run_id} is about {run.subject['name']}, not about {subject.card.name}; name its subject with "
            "--subject, or with --model and --sae."
        )


def _rows(
    log: RunLog, run: RunSummary, subject: Subject, config: RunConfig, wanted: str | Sequence[int] | None
) -> list[LabelRow]:
    card = subject.card
    features = parse_features(wanted, card.n_features, config.seed, card.layer) if isinstance(wanted, str) else wanted
    rows = log.read(labels_of, run.run_id, features=features)
    if not rows:
        raise LogError(
            f"Run {run.run_id} has no label of these features; interpret log {run.run_id} lists what it has."
        )
    return rows


def _corpus(
    log: RunLog,
    run: RunSummary,
    subject: Subject,
    rows: Sequence[LabelRow],
    corpus_id: int | None,
    scorers: Iterable[str],
) -> CorpusRow | None:
    """Returns that corpus, or the one whose texts the run has shown, or the latest with examples of any of the
    features.

    None where there is none and no scorer needs one. Raises LogError.
    """
    wanted = {row.feature for row in rows}
    corpora = log.read(corpora_of, subject.card.fingerprint)
    corpora.sort(key=lambda corpus: corpus.identity != run.settings.get("corpus"))
    if corpus_id is not None and corpus_id not in {corpus.corpus_id for corpus in corpora}:
        known = ", ".join(f"{corpus.corpus_id} ({corpus.source})" for corpus in corpora) or "none"
        raise LogError(f"{log.path} has no texts {corpus_id} of this subject; it has {known}.")
    for corpus in corpora:
        if corpus_id in (None, corpus.corpus_id) and wanted & log.read(features_collected, corpus.corpus_id):
            return corpus
    if corpus_id is None and not any(needs_texts(SCORERS[name]) for name in scorers):
        return None
    first, last = min(wanted), max(wanted)
    raise LogError(
        f"{log.path} holds no examples of these features{waiting_words(log.read(unfinished_shards))}; "
        f"interpret examples --features {first}-{last} {options_about(log.path, run)} collects some."
    )


def _settings(config: RunConfig, explainer: Explainer) -> ScoreSettings:
    scorers = config.score.scorers or (_FREE + _ASKING if explainer.forms else _FREE)
    return config.score.model_copy(update={"scorers": tuple(dict.fromkeys(scorers))})


def _identity(
    run: RunSummary, corpus: CorpusRow | None, config: RunConfig, settings: ScoreSettings, explainer: Explainer
) -> ScoringIdentity:
    embedder = recorded(settings.embedder)
    resolved = {**settings.model_dump(mode="json", exclude={"scorers"}), "embedder": embedder, "seed": config.seed}
    if explainer.forms:
        resolved |= {"answer_tokens": config.answer_tokens, "effort": config.effort}
    return ScoringIdentity(
        run_id=run.run_id,
        corpus_id=None if corpus is None else corpus.corpus_id,
        judge=explainer_name(explainer),
        settings=resolved,
        templates=template_hashes(TEMPLATES if explainer.forms else []),
    )


def _opening(
    scoring: Scoring,
    corpus: CorpusRow | None,
    explainer: Explainer,
    note: str,
    rows: Sequence[LabelRow],
    config: RunConfig,
) -> Iterator[tuple[str, str]]:
    run = scoring.run
    n_labelled = sum(row.status == "labelled" for row in rows)
    yield "run", f"{run.run_id}, {n_labelled:,} labels of {len(rows):,} features, explainer {run.explainer}"
    yield "examples", _corpus_words(corpus)
    yield "scorers", ", ".join(scorer.name for scorer in scoring.scorers)
    if explainer.forms:
        yield "judge", explainer_name(explainer)
        expected = _expected_words(scoring, explainer, rows, config)
        yield "expected", f"{expected}{batch_words(config)}{budget_words(config)}"
    if note:
        yield "note", note
    yield "log", str(config.log)


def _nearest(subject: Subject, rows: Sequence[LabelRow], scorers: Sequence[str]) -> dict[int, list[int]]:
    """Returns each feature's nearest, where a scorer takes others' examples for ones that are not the feature's."""
    from eval.collect.negatives import nearest  # here, since what can be refused is refused before torch is imported

    features = sorted({row.feature for row in rows})
    return {} if all(SCORERS[name].reads_label for name in scorers) else nearest(subject.sae, features)


def _expected_words(scoring: Scoring, explainer: Explainer, rows: Sequence[LabelRow], config: RunConfig) -> str:
    """Estimates calls, tokens and dollars for the questions that are not answered yet."""
    asked = asyncio.run(expected_questions(scoring, rows, questions_to(explainer, config)))
    return f"{'' if asked.exact else 'about '}{estimate_of(explainer, asked.calls, asked.prompt_tokens)}"


def _corpus_words(corpus: CorpusRow | None) -> str:
    if corpus is None:
        return "none, and none are needed"
    tokens = "" if corpus.n_tokens is None else f", {corpus.n_tokens:,} tokens"
    return f"{corpus.corpus_id}: {corpus.source}{tokens}, collected {corpus.created[:10]}"


def _budget(config: RunConfig, log: RunLog, run_id: int, scoring_id: int) -> SpendingBudget:
    spent = log.read(spent_by, run_id, scoring_id)
    limits = Limits(tokens=config.budget_tokens, usd=config.budget_usd)
    return SpendingBudget(limits, tokens=spent.most_tokens, usd=spent.most_usd, known_usd=spent.cost_usd or 0.0)


def _embedder(config: RunConfig, subject: Subject) -> Embedder:
    return SentenceEmbedder(config.score.embedder) if config.score.embedder else SubjectEmbedder(subject)


def _concepts(config: RunConfig) -> dict[int, str]:
    truth = known_concepts(config.subject)
    return {feature: known.name for feature, known in truth.features.items()} if truth else {}


def _bar(screen: Console, n_features: int) -> Progress:
    columns = (
        TextColumn("features"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=screen, disable=not screen.is_terminal)
    bar.add_task("", total=n_features)
    return bar
