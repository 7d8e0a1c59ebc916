"""Chooses a run's examples from the log: those that its explainer may see, and the unit of steering."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from agent.config import RunConfig
from agent.errors import LogError
from agent.llm.base import Explainer
from agent.log.examples import CorpusRow, corpora_of, features_collected
from agent.log.naming import options_of
from agent.log.run_log import RunLog
from agent.log.runs import find_run
from agent.maxima import CorpusMaxima, in_another_unit, maxima_of, no_maxima
from agent.run_spec import RunSpec
from eval.scoring.shown_examples import CorpusExamples
from probes.errors import SettingsError
from probes.subject import Subject

_LEFT_OUT = (("texts", "not shown, since this run was started without them; --evidence examples adds them"),)


@dataclass(frozen=True)
class RunTexts:
    """The examples and maximum activations of one corpus, for a run."""

    material: CorpusExamples | None = None
    """The texts that the explainer may see, where it is to see any."""
    maxima: CorpusMaxima | None = None
    """The features' maximum activations, where there are texts or a run steers by them."""
    lines: tuple[tuple[str, str], ...] = ()
    """Lines about the examples for a run's opening."""


def run_texts(wanted: RunSpec, log: RunLog | None, features: Sequence[int], new: bool) -> RunTexts:
    """Reads the corpus that a run of this kind was begun with; for a first or `new` run the latest corpus.

    So the same command goes on with its run, whatever texts came into the log since. Where the settings do not say
    whether texts are shown, they are if the explainer reads them and the log holds some of these features, unless the
    run was begun without. Raises SettingsError, LogError.
    """
    config, explainer = wanted.config, _reader(wanted)
    asked = config.evidence == "examples" or config.feedback
    shows = asked or (config.evidence is None and bool(explainer.forms))
    steers = config.probe.steering.on and config.probe.steering.maximum is None
    _check_explainer(config, explainer, asked)
    if not (shows or steers):
        return RunTexts()
    corpora = [] if log is None else _corpora(log, wanted.subject, features)
    if log is None or not corpora:
        if asked or steers:
            raise _no_texts(config) if asked else no_maxima(config.log)
        return RunTexts()

    def is_begun(texts: RunTexts) -> bool:
        return log.read(find_run, with_texts(wanted, texts).identity) is not None

    shown = [_shown(log, corpus, features, asked) for corpus in corpora] if shows else []
    plain = [RunTexts(maxima=maxima_of(log, corpus)) for corpus in corpora] if steers else [RunTexts()]
    if not shows:
        return _checked(config, corpora[0], _first(plain, is_begun, new))
    begun = next(filter(is_begun, shown), None)
    if not asked and not new and begun is None and any(map(is_begun, plain)):
        found = _first(plain, is_begun, new)
        return RunTexts(maxima=found.maxima, lines=_LEFT_OUT)
    return shown[0] if new or begun is None else begun


def with_texts(spec: RunSpec, texts: RunTexts) -> RunSpec:
    """Returns the run with these texts, which rules do not read, for its stronger explainer too."""
    material, escalation = texts.material if spec.explainer.forms else None, spec.escalation
    if escalation is not None:
        escalation = replace(escalation, spec=with_texts(escalation.spec, texts))
    return replace(spec, material=material, maxima=texts.maxima, escalation=escalation)


def _reader(wanted: RunSpec) -> Explainer:
    """Returns the explainer that reads texts: a run's own, or else its stronger one; rules read none."""
    second = None if wanted.escalation is None else wanted.escalation.spec.explainer
    return wanted.explainer if second is None or wanted.explainer.forms or wanted.config.feedback else second


def _corpora(log: RunLog, subject: Subject, features: Sequence[int]) -> list[CorpusRow]:
    wanted = frozenset(features)
    corpora = log.read(corpora_of, subject.card.fingerprint)
    return [corpus for corpus in corpora if wanted & log.read(features_collected, corpus.corpus_id)]


def _shown(log: RunLog, corpus: CorpusRow, features: Sequence[int], asked: bool) -> RunTexts:
    n = len(log.read(features_collected, corpus.corpus_id).intersection(features))
    words = f"corpus {corpus.corpus_id}, which has examples of {n:,} of these features"
    by_default = "" if asked else "; shown beside the weights, --evidence weights leaves them out"
    return RunTexts(CorpusExamples(log, corpus.corpus_id), maxima_of(log, corpus), (("texts", words + by_default),))


def _first(found: Sequence[RunTexts], is_begun: Callable[[RunTexts], bool], new: bool) -> RunTexts:
    """Returns the corpus that a run was begun with; for a first or new run the first of them."""
    begun: Iterator[RunTexts] = iter(()) if new else filter(is_begun, found)
    return next(begun, found[0])


def _checked(config: RunConfig, corpus: CorpusRow, found: RunTexts) -> RunTexts:
    if found.maxima is not None and not found.maxima.in_own_unit:
        raise in_another_unit(config.log, corpus)
    return found


def _check_explainer(config: RunConfig, explainer: Explainer, asked: bool) -> None:
    if asked and not explainer.forms and config.feedback:
        raise SettingsError("Labels are tried out by a language model: --feedback needs --llm anthropic or openai.")
    if asked and not explainer.forms:
        raise SettingsError(
            f"Explainer {explainer.provider} reads no examples: --evidence examples needs a hosted one."
        )


def _no_texts(config: RunConfig) -> LogError:
    options = options_of(config.log, config.subject)
    return LogError(
        f"{config.log} holds no texts of these features; interpret examples --features ... {options} "
        "collects some, then --evidence examples and --feedback can use them."
    )
