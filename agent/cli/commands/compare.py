"""`interpret compare`: settings probed on many features, and compared by their fit to the features' examples.

The comparison is in `eval.compare`, its output in `compare_output`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from agent.cli.commands.base_prompt import all_named
from agent.cli.commands.compare_output import ComparisonOutput, ComparisonReport, compared, show
from agent.cli.commands.doctor import subject_words
from agent.cli.commands.loading import SubjectLoader
from agent.cli.commands.token_pass import read_tokens
from agent.cli.terminal.bars import bar, duration
from agent.cli.terminal.display import console, facts
from agent.config import RunConfig
from agent.errors import LogError
from agent.evidence.wording import tree_words
from agent.log.comparisons import fits_of
from agent.log.examples import CorpusRow, latest_corpus
from agent.log.naming import log_option
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, finish_run
from agent.maxima import CorpusMaxima, maxima_of
from eval.compare.fit import FitTools
from eval.compare.grid import Grid, names_of
from eval.compare.report import setting_measures
from eval.compare.words import WordVectors
from eval.compare.work import ComparisonWork, TimingTrial
from eval.embedders import SentenceEmbedder, SubjectEmbedder, recorded
from probes.errors import SettingsError
from probes.features import parse_features
from probes.presets import SubjectCard
from probes.settings import ProbeSettings
from probes.subject import Subject

MAX_PROBES = 20_000
"""Trees and lists that are made without being asked whether so many are meant."""
VERSION = 1
"""Of the measures: where one of them changes, what was measured before is not mixed with what is measured now."""


@dataclass(frozen=True)
class ComparisonRequest:
    """The features and settings of a comparison."""

    spec: str
    grid: Grid
    yes: bool
    """True to probe however many settings the grid has."""
    dry: bool
    """True to announce the work without doing it."""


def compare_settings(
    configs: Sequence[RunConfig], asked: ComparisonRequest, output: ComparisonOutput, load: SubjectLoader
) -> int:
    """Compares on every subject, prints, and returns the exit status, 0. Raises InterpretError."""
    asked.grid.check_size()
    if output.plot is not None:
        from eval.plots import check_picture

        check_picture(output.plot)
    screen = console() if not output.as_json else Console(stderr=True, highlight=False, markup=False, emoji=False)
    found = [_compared(screen, config, asked, load(config.subject)) for config in configs]
    if not asked.dry:
        show(screen, [item for item in found if item is not None], output, configs[0].seed)
    return 0


def _compared(
    screen: Console, config: RunConfig, asked: ComparisonRequest, subject: Subject
) -> ComparisonReport | None:
    """Compares settings on one subject; None if only the work was to be announced."""
    features = parse_features(asked.spec, subject.card.n_features, config.seed)
    settings = all_named(screen, subject, asked.grid.settings(config.probe, subject.card.default_scale))
    if not config.log.exists():
        raise no_examples(config.log, features)
    with RunLog.open(config.log, read_only=asked.dry) as log:
        corpus = corpus_of(log, subject.card, features)
        maxima = _maxima(config, maxima_of(log, corpus), features)
        features = features if maxima is None else [*maxima]
        read_tokens(screen, subject, [setting.vector.weights for setting in settings])
        comparing = _comparing(config, log, subject, corpus, maxima or {})
        plan = comparing.plan(settings, features)
        todo = _todo_words(len(plan.requests), comparing.tried(plan))
        _check_size(len(plan.requests), todo, asked.yes)
        screen.print(facts(_opening(config, subject, corpus, settings, features, todo)))
        if asked.dry:
            return None
        place = comparing.begin(features)
        with bar(screen, "trees and lists", len(plan.requests)) as advance:
            for n in comparing.work(plan, place):
                advance(n)
        log.write(finish_run, place.run_id).result()
        fits = {setting: log.read(fits_of, place.comparison_id, setting) for setting in settings}
    return compared(
        subject.card, {setting: setting_measures(rows, features) for setting, rows in fits.items()}, config.seed
    )


def corpus_of(log: RunLog, card: SubjectCard, features: Sequence[int]) -> CorpusRow:
    """Returns the subject's latest corpus with examples of any of the features. Raises LogError if there is none."""
    if (corpus := log.read(latest_corpus, card.fingerprint, features)) is None:
        raise no_examples(log.path, features)
    return corpus


def no_examples(path: Path, features: Sequence[int]) -> LogError:
    """Returns the error if the log has no examples to compare settings on."""
    return LogError(
        f"{path} holds no examples of these features to compare settings on; "
        f"interpret examples --features {min(features)}-{max(features)} {log_option(path)} collects some."
    )


def _maxima(config: RunConfig, maxima: CorpusMaxima, features: Sequence[int]) -> dict[int, float] | None:
    """Returns the maxima of the features that have one, if trees are steered by them; other features are left out."""
    steering = config.probe.steering
    if not steering.on or steering.maximum is not None:
        return None
    found = {feature: maximum for feature in features if (maximum := maxima.of(feature)) is not None}
    if not found:
        raise steering.unknown(features[0])
    return found


def _comparing(
    config: RunConfig, log: RunLog, subject: Subject, corpus: CorpusRow, maxima: Mapping[int, float]
) -> ComparisonWork:
    score = config.score
    embedder = SentenceEmbedder(score.embedder) if score.embedder else SubjectEmbedder(subject)
    return ComparisonWork(
        log=log,
        tools=FitTools(subject, WordVectors(embedder)),
        embedder=embedder,
        negatives=score.negatives,
        run=RunIdentity(kind="compare", subject=subject.card, settings={}, explainer="", templates={}),
        corpus_id=corpus.corpus_id,
        settings={"version": VERSION, "negatives": sorted(score.negatives), "embedder": recorded(score.embedder)},
        maxima=maxima,
    )


def _todo_words(n: int, trial: TimingTrial | None) -> str:
    how = f", about {duration(trial.expected_s)} by {trial.n:,} trees tried for {trial.seconds:.1f} s" if trial else ""
    return f"{n:,} trees and lists{how}"


def _check_size(n: int, todo: str, yes: bool) -> None:
    """Raises SettingsError for a number of probes that is probably a mistake."""
    if n > MAX_PROBES and not yes:
        raise SettingsError(
            f"This grid asks for {todo}; more than {MAX_PROBES:,} are made only with --yes. Fewer features "
            "(random:200), fewer values or a higher --cutoff make it less; nothing was written."
        )


def _opening(
    config: RunConfig,
    subject: Subject,
    corpus: CorpusRow,
    settings: Sequence[ProbeSettings],
    features: Sequence[int],
    todo: str,
) -> Iterator[tuple[str, str]]:
    names = [*names_of(settings).values()]
    yield "subject", subject_words(subject.card)
    yield "examples", f"{corpus.corpus_id}: {corpus.source}, held-out texts, collected {corpus.created[:10]}"
    yield "features", f"{len(features):,}"
    yield "settings", f"{len(settings):,}: {'; '.join(names[:8])}{'; ...' if len(names) > 8 else ''}"
    yield "baseline", names[0]
    if config.probe.steering.on:
        yield "all trees", tree_words(config.probe, "as named")
    yield "to do", f"{todo}; the rest is already in the log"
    yield "log", str(config.log)
