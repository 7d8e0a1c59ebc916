"""`interpret compare`: settings probed on many features, and which of them fits the features' texts better.

Knows the order of things and what is said of them; the work is in `eval.compare`.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from agent.commands.doctor import subject_words
from agent.comparisons import COMPARE, ComparisonIdentity
from agent.config import RunConfig
from agent.errors import LogError
from agent.evidence.wording import tree_words
from agent.maxima import Maxima
from agent.runlog import CorpusRow, RunIdentity, RunLog
from agent.terminal.bars import bar
from agent.terminal.comparison import layers_table, lines_table, pairs_table, unmeasured
from agent.terminal.display import console, facts
from eval.compare.fit import Tools
from eval.compare.grid import Grid, names_of
from eval.compare.layers import layers
from eval.compare.report import Choice, Line, Measured, Pair, choice, lines, measured, pairs
from eval.compare.verdict import choice_words, verdict
from eval.compare.words import WordVectors
from eval.compare.work import Comparing, Plan
from eval.embedders import SentenceEmbedder, SubjectEmbedder
from probes.errors import SettingsError
from probes.features import parse_features
from probes.presets import SubjectCard
from probes.settings import ProbeSettings
from probes.subject import Subject, load_subject

MOST_PROBES = 20_000
"""Trees and lists that are made without being asked whether so many are meant."""
VERSION = 1
"""Of the measures: where one of them changes, what was measured before is not mixed with what is measured now."""


@dataclass(frozen=True)
class Output:
    """In which form a comparison is wanted."""

    as_json: bool
    plot: Path | None


@dataclass(frozen=True)
class Compared:
    """What came of one subject."""

    card: SubjectCard
    names: Mapping[ProbeSettings, str]
    values: Mapping[ProbeSettings, Measured]
    lines: Sequence[Line]
    pairs: Sequence[Pair]
    choice: Choice | None

    @property
    def baseline(self) -> ProbeSettings:
        """The first of the settings."""
        return next(iter(self.values))

    @property
    def verdicts(self) -> list[str]:
        """What the figures allow to be said: of two settings by every measure, of more about the chosen one alone."""
        said = [verdict(pair, self.names.__getitem__) for pair in self.pairs] if len(self.values) == 2 else []
        return said + ([] if self.choice is None else [choice_words(self.choice, self.names.__getitem__)])


def compare_settings(configs: Sequence[RunConfig], spec: str, grid: Grid, yes: bool, output: Output) -> int:
    """Compares on every subject, prints, and returns the exit status, 0. Raises InterpretError."""
    if output.plot is not None:
        from eval.plots import check_picture

        check_picture(output.plot)
    screen = console() if not output.as_json else Console(stderr=True, highlight=False, markup=False, emoji=False)
    found = [_compared(screen, config, spec, grid, yes) for config in configs]
    if output.as_json:
        click.echo(json.dumps([_json(item) for item in found]))
    else:
        for item in found:
            _print(screen, item)
        if len(found) > 1:
            screen.print(layers_table(layers((item.card, item.names, item.pairs) for item in found)))
    if output.plot is not None:
        _draw(screen, output.plot, found[0], configs[0].seed)
    return 0


def _draw(screen: Console, path: Path, found: Compared, seed: int) -> None:
    from eval.compare.pictures import picture
    from eval.plots import save

    save(picture(found.values, found.names, seed), path)
    screen.print(Text(f"Wrote {path}."))


def _compared(screen: Console, config: RunConfig, spec: str, grid: Grid, yes: bool) -> Compared:
    with RunLog.open(config.log) as log:
        subject = load_subject(config.subject)
        features = parse_features(spec, subject.card.n_features, config.seed)
        settings = grid.settings(config.probe, subject.card.default_scale)
        corpus = corpus_of(log, subject.card, features)
        maxima = _maxima(config, Maxima(log, corpus.corpus_id), features)
        features = features if maxima is None else [*maxima]
        comparing = replace(_comparing(config, log, subject, corpus, features), maxima=maxima or {})
        plan = comparing.plan(settings, features)
        screen.print(facts(_opening(config, subject, corpus, settings, features, plan)))
        _work(screen, comparing, plan, yes)
        log.finish_run(comparing.run_id)
        fits = {setting: log.comparisons.fits(comparing.comparison_id, setting) for setting in settings}
    return compared(subject.card, {setting: measured(rows, features) for setting, rows in fits.items()}, config.seed)


def compared(card: SubjectCard, values: Mapping[ProbeSettings, Measured], seed: int) -> Compared:
    """What is said of some settings, the first of which is the baseline."""
    baseline = next(iter(values))
    return Compared(
        card=card,
        names=names_of([*values]),
        values=values,
        lines=lines(values, seed),
        pairs=pairs(values, baseline, seed),
        choice=choice(values, baseline, seed),
    )


def corpus_of(log: RunLog, card: SubjectCard, features: Sequence[int]) -> CorpusRow:
    """The latest of the subject's corpora that has examples of any of the features. Raises LogError for none."""
    for corpus in log.corpora(card.fingerprint):
        if log.collected_features(corpus.corpus_id).intersection(features):
            return corpus
    raise LogError(
        f"{log.path} holds no examples of these features to compare settings on; "
        f"interpret examples --features {min(features)}-{max(features)} --log {log.path} collects some."
    )


def _maxima(config: RunConfig, maxima: Maxima, features: Sequence[int]) -> dict[int, float] | None:
    """Where trees are steered by them, those of the features that have one; others are left out."""
    steering = config.probe.steering
    if not steering.on or steering.maximum is not None:
        return None
    found = {feature: maximum for feature in features if (maximum := maxima.of(feature)) is not None}
    if not found:
        raise steering.unknown(features[0])
    return found


def _comparing(
    config: RunConfig, log: RunLog, subject: Subject, corpus: CorpusRow, features: Sequence[int]
) -> Comparing:
    identity = RunIdentity(subject=subject.card, settings={}, explainer=COMPARE, templates={})
    run_id = log.begin_run(identity, features).run_id
    score = config.score
    settings = {"version": VERSION, "negatives": sorted(score.negatives), "embedder": score.embedder}
    embedder = SentenceEmbedder(score.embedder) if score.embedder else SubjectEmbedder(subject)
    return Comparing(
        log=log,
        tools=Tools(subject, WordVectors(embedder)),
        embedder=embedder,
        negatives=score.negatives,
        run_id=run_id,
        comparison_id=log.comparisons.begin(
            ComparisonIdentity(run_id=run_id, corpus_id=corpus.corpus_id, settings=settings)
        ),
        corpus_id=corpus.corpus_id,
    )


def _work(screen: Console, comparing: Comparing, plan: Plan, yes: bool) -> None:
    """Works the plan through; the first batch tells how long it takes. Raises SettingsError where that is absurd."""
    total = len(plan.requests)
    started, done = time.monotonic(), 0
    with bar(screen, "trees and lists", total) as advance:
        for n in comparing.work(plan):
            advance(n)
            done += n
            if done == n and n < total:
                _announce(screen, done, total, time.monotonic() - started, yes)


def _announce(screen: Console, done: int, total: int, seconds: float, yes: bool) -> None:
    left = f"{total - done:,} trees and lists are left, about {_duration(seconds / done * (total - done))}"
    how = f"by the first {done:,}, which took {seconds:.1f} s"
    if total > MOST_PROBES and not yes:
        raise SettingsError(
            f"{left} {how}; more than {MOST_PROBES:,} are made only with --yes. Fewer features (random:200), fewer "
            "values or a higher --cutoff make it less; what is done is in the log."
        )
    screen.print(Text(f"{left} {how}."))


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def _opening(
    config: RunConfig,
    subject: Subject,
    corpus: CorpusRow,
    settings: Sequence[ProbeSettings],
    features: Sequence[int],
    plan: Plan,
) -> Iterator[tuple[str, str]]:
    names = [*names_of(settings).values()]
    yield "subject", subject_words(subject.card)
    yield "examples", f"{corpus.corpus_id}: {corpus.source}, held-out texts, collected {corpus.created[:10]}"
    yield "features", f"{len(features):,}"
    yield "settings", f"{len(settings):,}: {'; '.join(names[:8])}{'; ...' if len(names) > 8 else ''}"
    yield "baseline", names[0]
    if config.probe.steering.on:
        yield "all trees", tree_words(config.probe, "as named")
    yield "to do", f"{len(plan.requests):,} trees and lists; what else is needed is in the log"
    yield "log", str(config.log)


def _print(screen: Console, found: Compared) -> None:
    screen.print()
    screen.print(lines_table(found.lines, found.names))
    screen.print()
    for sentence in unmeasured(found.lines, found.names):
        screen.print(Text(sentence))
    if found.pairs:
        screen.print()
        screen.print(Text(f"Against {found.names[found.baseline]}", style="bold"))
        screen.print(pairs_table(found.pairs, found.names))
    screen.print()
    for sentence in found.verdicts:
        screen.print(Text(sentence))
    if len(found.pairs) > 1:
        screen.print(Text(f"{len(found.pairs)} intervals of 95 % each: one in twenty misses by chance.", style="dim"))


def _json(found: Compared) -> dict[str, Any]:
    name = found.names.__getitem__
    return {
        "subject": found.card.model_dump(mode="json"),
        "baseline": name(found.baseline),
        "settings": {name(setting): setting.model_dump(mode="json") for setting in found.values},
        "measures": [{**asdict(line), "setting": name(line.setting)} for line in found.lines],
        "pairs": [_pair_json(pair, found.names) for pair in found.pairs],
        "choice": None
        if found.choice is None
        else {
            **asdict(found.choice),
            "setting": name(found.choice.setting),
            "pair": None if found.choice.pair is None else _pair_json(found.choice.pair, found.names),
        },
        "verdicts": found.verdicts,
    }


def _pair_json(pair: Pair, names: Mapping[ProbeSettings, str]) -> dict[str, Any]:
    versus = {**asdict(pair.versus), "win_rate": asdict(pair.versus.win_rate)}
    return {"setting": names[pair.setting], "baseline": names[pair.baseline], "measure": pair.measure, **versus}
