"""What a run takes from the log's texts: those that its explainer may see, and the unit of steering."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.config import RunConfig
from agent.errors import LogError
from agent.llm.base import Explainer
from agent.maxima import Maxima, no_maxima
from agent.run import identity_of
from agent.runlog import RunIdentity, RunLog
from agent.store.reading import find_run
from eval.scoring.shown_texts import ShownTexts
from probes.errors import SettingsError
from probes.subject import Subject


@dataclass(frozen=True)
class RunTexts:
    """Both are of one corpus."""

    material: ShownTexts | None = None
    """The texts that the explainer may see, where it is to see any."""
    maxima: Maxima | None = None
    """The features' maximum activations, where there are texts or a run steers by them."""


def run_texts(
    config: RunConfig, explainer: Explainer, subject: Subject, log: RunLog | None, features: Sequence[int], new: bool
) -> RunTexts:
    """Of the corpus that a run of this config was begun with; without one, or for a `new` run, of the latest.

    So the same command goes on with its run, whatever texts came into the log since. Raises SettingsError, LogError.
    """
    shows = config.evidence == "examples" or config.feedback
    steers = config.probe.steering.on and config.probe.steering.maximum is None
    _check_explainer(config, explainer, shows)
    if not (shows or steers):
        return RunTexts()
    wanted = frozenset(features)
    corpora = [] if log is None else log.corpora(subject.card.fingerprint)
    ids = [] if log is None else [c.corpus_id for c in corpora if wanted & log.collected_features(c.corpus_id)]
    if log is None or not ids:
        raise _no_texts(config) if shows else no_maxima(config.log)
    found = [RunTexts(ShownTexts(log, id) if shows else None, Maxima(log, id)) for id in ids]

    def identity(texts: RunTexts) -> RunIdentity:
        return identity_of(config, subject, explainer, texts.material, texts.maxima)

    return found[0] if new else _begun_with(log, found, identity)


def _begun_with(log: RunLog, found: Sequence[RunTexts], identity: Callable[[RunTexts], RunIdentity]) -> RunTexts:
    return next((texts for texts in found if log.ask(find_run, identity(texts)) is not None), found[0])


def _check_explainer(config: RunConfig, explainer: Explainer, shows: bool) -> None:
    if shows and not explainer.forms and config.feedback:
        raise SettingsError("Labels are tried out by a language model: --feedback needs --llm anthropic or openai.")
    if shows and not explainer.forms:
        raise SettingsError(f"Explainer {explainer.provider} reads no texts: --evidence examples needs a hosted one.")


def _no_texts(config: RunConfig) -> LogError:
    return LogError(
        f"{config.log} holds no texts of these features; interpret examples --features ... --log {config.log} "
        "collects some, then --evidence examples and --feedback can use them."
    )
