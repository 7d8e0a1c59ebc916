"""`interpret taxonomy`: kinds of features, which probe captures them, and which settings work for each.

Works on what `interpret compare` has stored; nothing is probed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agent.cli.commands.base_prompt import all_named
from agent.cli.commands.doctor import subject_words
from agent.cli.terminal.classes import classes_table, prediction_words, predictions_table
from agent.cli.terminal.display import console, facts
from agent.config import RunConfig
from agent.errors import LogError
from agent.log.comparisons import (
    ComparisonRow,
    FitRow,
    add_classes,
    add_recommendation,
    compared_settings,
    comparisons_of,
    fits_of,
)
from agent.log.examples import CorpusRow, corpora_of, examples_of
from agent.log.run_log import RunLog
from eval.compare.grid import axes_of, names_of
from eval.compare.kinds import KINDS, kind_of
from eval.compare.measures import CHOSEN_BY
from eval.compare.predicting import PredictionSource, columns_of, is_installed, known_beforehand, predictions
from eval.compare.report import SettingChoice, SettingMeasures, choice, setting_measures
from eval.compare.taxonomy import CAPTURED, CaptureResult, capture_result, classes, each_captured
from eval.compare.verdict import choice_words, estimate_words
from probes.examples import Example, Split
from probes.features import parse_features
from probes.ghost.vectors import resolved
from probes.settings import ProbeSettings
from probes.subject import Subject, first_ids, load_subject

_SIDES: tuple[Split, Split] = ("shown", "held_out")


@dataclass(frozen=True)
class StoredComparison:
    """The fits of a stored comparison, for settings that were measured on the same features."""

    row: ComparisonRow
    features: Sequence[int]
    fits: Mapping[ProbeSettings, Sequence[FitRow]]
    values: Mapping[ProbeSettings, SettingMeasures]
    names: Mapping[ProbeSettings, str]
    n_left_out: int
    """Number of settings left out, which were measured on fewer of the features."""
    baseline: ProbeSettings
    """The default setting if it was compared, else the first."""
    default: ProbeSettings
    """The default setting, compared or not; recommendations must beat it."""
    choice: SettingChoice | None

    @property
    def setting(self) -> ProbeSettings:
        """Returns the setting that did best on half of the features."""
        return self.baseline if self.choice is None else self.choice.setting


def classify(configs: Sequence[RunConfig], spec: str | None) -> int:
    """Classifies features, prints, and stores the recommendation; returns the exit status, 0. Raises InterpretError."""
    screen, config = console(), configs[0]
    if not config.log.exists():
        raise _no_comparison(config.log, "any subject")
    with RunLog.open(config.log) as log:
        sources = [_classified(screen, log, config, spec) for config in configs]
        if len(sources) > 1:
            screen.print(Text(f"\n{len(sources)} subjects together", style="bold"))
            _print_predictions(screen, sources, config.seed)
    return 0


def _classified(screen: Console, log: RunLog, config: RunConfig, spec: str | None) -> PredictionSource:
    """Classifies the features of one subject; returns what its settings can be predicted from."""
    subject = load_subject(config.subject)
    asked = None if spec is None else parse_features(spec, subject.card.n_features, config.seed)
    [default] = all_named(screen, subject, [resolved(subject, ProbeSettings())])
    stored = _stored(log, subject, default, asked, config.seed)
    corpus = next(c for c in log.read(corpora_of) if c.corpus_id == stored.row.corpus_id)
    screen.print(facts(_opening(config, subject, corpus, stored)))
    screen.print()
    _sort(screen, log, subject, corpus, stored, config.seed)
    screen.print()
    source = _source(log, subject, corpus, stored)
    _print_predictions(screen, [source], config.seed)
    screen.print()
    screen.print(Text(_recommend(log, subject, stored)))
    return source


def _stored(
    log: RunLog, subject: Subject, default: ProbeSettings, asked: Sequence[int] | None, seed: int
) -> StoredComparison:
    """Returns the latest comparison's settings that were measured on all features asked for; by default on the
    features of the setting with most. Raises LogError."""
    rows = log.read(comparisons_of, subject.card.fingerprint)
    row = next((one for one in rows if log.read(compared_settings, one.comparison_id)), None)
    if row is None:  # none, or all were cut off before a setting was measured
        raise _no_comparison(log.path, subject.card.name)
    id = row.comparison_id
    fits = {setting: log.read(fits_of, id, setting) for setting in log.read(compared_settings, id)}
    covered = {setting: frozenset(fit.feature for fit in found) for setting, found in fits.items()}
    widest = max(covered.values(), key=len)
    features = sorted(widest) if asked is None else [*asked]
    complete = [setting for setting, some in covered.items() if some.issuperset(features)]
    if not complete:
        raise LogError(f"No setting was compared on all {len(features):,} features; interpret compare does that.")
    values = {setting: setting_measures(fits[setting], features) for setting in complete}
    baseline = next((setting for setting in complete if _is_like(setting, default)), complete[0])
    return StoredComparison(
        row=row,
        features=features,
        fits=fits,
        values=values,
        names=names_of(complete),
        n_left_out=len(fits) - len(complete),
        baseline=baseline,
        default=default,
        choice=choice(values, baseline, seed),
    )


def _is_like(setting: ProbeSettings, default: ProbeSettings) -> bool:
    """Tests if a setting gives the same evidence as the default; the size of the tree does not count."""
    return _shown(setting) == _shown(default)


def _shown(setting: ProbeSettings) -> tuple[object, ...]:
    return setting.vector, setting.tree.prompt, setting.tokens.exponent, setting.steering


def _no_comparison(path: Path, name: str) -> LogError:
    return LogError(f"{path} holds no comparison of {name}; interpret compare --features ... makes one.")


def _opening(
    config: RunConfig, subject: Subject, corpus: CorpusRow, stored: StoredComparison
) -> Iterator[tuple[str, str]]:
    left_out = f"; {stored.n_left_out:,} others were measured on fewer features" if stored.n_left_out else ""
    yield "subject", subject_words(subject.card)
    yield "examples", f"{corpus.corpus_id}: {corpus.source}, collected {corpus.created[:10]}"
    yield "features", f"{len(stored.features):,}"
    yield "settings", f"{len(stored.values):,} that were measured on all of them{left_out}"
    yield "log", str(config.log)


def _sort(
    screen: Console, log: RunLog, subject: Subject, corpus: CorpusRow, stored: StoredComparison, seed: int
) -> None:
    """Stores the class of each feature, and prints the classes."""
    kinds = {feature: _kind(log, corpus, subject, feature) for feature in stored.features}
    by_list, by_tree = (capture_result(stored.fits[stored.setting], measure) for measure in ("list", "tree"))
    captures = each_captured(kinds, by_list.own, by_tree.own)
    log.write(
        add_classes,
        stored.row.comparison_id,
        subject.card.fingerprint,
        [(feature, kind, captures.get(feature)) for feature, kind in kinds.items()],
    ).result()
    found = classes(kinds, by_list.own, by_tree.own, stored.values, stored.baseline, seed)
    screen.print(classes_table(found, stored.names))
    screen.print()
    for item in found:
        if item.kind in KINDS:
            screen.print(Text(f"{item.kind}: {KINDS[item.kind]}."))
    screen.print(Text(_capture_words(by_list, by_tree, stored.names[stored.setting])))


def _kind(log: RunLog, corpus: CorpusRow, subject: Subject, feature: int) -> str:
    found = {side: log.read(examples_of, corpus.corpus_id, feature, side, ["activating"]) for side in _SIDES}
    halves: dict[Split, Sequence[Example]] = {
        side: [] if some is None else [*some.examples] for side, some in found.items()
    }
    context = corpus.settings.get("context")
    window = context - len(first_ids(subject)) if context else 0
    return kind_of(found["shown"], halves, subject.table, window)


def _capture_words(by_list: CaptureResult, by_tree: CaptureResult, name: str) -> str:
    return (
        f"A probe captures a feature where its AUROC under {name} is {CAPTURED:g} or more and the interval above .5. "
        f"On other features' examples this holds for {estimate_words(by_list.by_chance)} of the lists and "
        f"{estimate_words(by_tree.by_chance)} of the trees."
    )


def _source(log: RunLog, subject: Subject, corpus: CorpusRow, stored: StoredComparison) -> PredictionSource:
    activities = {f: log.read(examples_of, corpus.corpus_id, f, None, []) for f in stored.features}
    frequencies = {f: a.activity.frequency for f, a in activities.items() if a is not None and a.activity}
    known = known_beforehand(subject, stored.features, frequencies)
    return PredictionSource(subject.card.layer, stored.values, axes_of([*stored.values]), known)


def _print_predictions(screen: Console, sources: Sequence[PredictionSource], seed: int) -> None:
    if not all(source.axes for source in sources):
        screen.print(Text("Only one setting was compared, so there is nothing to predict."))
    elif not is_installed():
        screen.print(Text("Predicting the settings needs an extra: pip install 'sae-interpret[taxonomy]'."))
    else:
        found = predictions(sources, CHOSEN_BY, seed)
        screen.print(Text(f"Predicted beforehand, from {', '.join(columns_of(sources))}", style="bold"))
        screen.print(predictions_table(found))
        for sentence in map(prediction_words, found):
            screen.print(Text(sentence))
        if not found:
            screen.print(Text("The subjects have fewer than two compared settings in common."))


def _recommend(log: RunLog, subject: Subject, stored: StoredComparison) -> str:
    """Stores the chosen setting if it is shown to be better than the default; returns a sentence about it."""
    found = stored.choice
    if found is None:
        return "Nothing is recommended: there are not two settings to choose between."
    words = choice_words(found, stored.names.__getitem__)
    if not _is_like(stored.baseline, stored.default):
        (name,) = names_of([stored.default]).values()
        return (
            f"{words} Nothing is recommended: the default ({name}) was not compared with them, and nothing is known to "
            "be better than it; run interpret compare with it in the grid."
        )
    versus = found.pair.versus if found.pair else None
    if versus is None or not versus.is_shown or (versus.difference.value or 0.0) < 0:
        return f"{words} Nothing other than {stored.names[stored.baseline]} is recommended."
    log.write(add_recommendation, subject.card.fingerprint, stored.row.comparison_id, found.setting, words).result()
    (name,) = names_of([found.setting]).values()
    return f"{words} Recommended: {name}. It changes no run by itself; interpret --features ... --recommended uses it."
