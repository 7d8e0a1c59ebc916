"""Decides whether a run shows its explainer examples beside the weights, and finds them in the log."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.config import RunConfig
from agent.errors import LogError
from agent.llm.base import Explainer
from agent.maxima import Maxima, latest_maxima, maxima_of
from agent.run import identity_of
from agent.runlog import RunLog
from agent.store.reading import find_run
from eval.scoring.shown_texts import ShownTexts
from probes.errors import SettingsError
from probes.subject import Subject


@dataclass(frozen=True)
class Found:
    """The examples that a run shows, if any, and what its opening lines say of them."""

    shown: ShownTexts | None = None
    lines: tuple[tuple[str, str], ...] = ()


def shown_texts(
    config: RunConfig,
    explainer: Explainer,
    subject: Subject,
    log: RunLog | None,
    features: Sequence[int],
    new: bool,
) -> Found:
    """The examples that the run shows. Raises SettingsError, LogError where some are asked for and cannot be had.

    Where the settings do not say, they are shown if the explainer reads texts and the log holds some of these features;
    a run that was begun without them goes on without, unless it is to be `new`.
    """
    wanted = config.feedback or config.evidence == "examples"
    if wanted and not explainer.forms:
        raise SettingsError(
            "Labels are tried out by a language model: --feedback needs --llm anthropic or openai."
            if config.feedback
            else f"Explainer {explainer.provider} reads no texts: --evidence examples needs a hosted one."
        )
    if not wanted and (config.evidence == "weights" or not explainer.forms):
        return Found()
    corpus = log.latest_corpus(subject.card.fingerprint, features) if log else None
    if log is None or corpus is None:
        if not wanted:
            return Found()
        raise LogError(
            f"{config.log} holds no texts of these features; interpret examples --features ... --log {config.log} "
            "collects some, then --evidence examples and --feedback can use them."
        )
    if not wanted and not new and _is_begun_without(config, explainer, subject, log, features):
        return Found(lines=(("texts", "not shown, since this run was begun without them; --evidence examples does"),))
    n = len(log.collected_features(corpus.corpus_id).intersection(features))
    words = f"corpus {corpus.corpus_id}, which has examples of {n:,} of these features"
    by_default = "" if wanted else "; shown beside the weights, --evidence weights leaves them out"
    return Found(ShownTexts(log, corpus.corpus_id), (("texts", words + by_default),))


def maxima_for(
    config: RunConfig, subject: Subject, log: RunLog | None, material: ShownTexts | None, features: Sequence[int]
) -> Maxima | None:
    """The features' maximum activations, where there are texts or a run steers by them. Raises LogError for none."""
    if material is not None:
        return maxima_of(material.log, next(c for c in material.log.corpora() if c.corpus_id == material.corpus_id))
    steering = config.probe.steering
    needed = steering.on and steering.maximum is None
    return latest_maxima(log, config.log, subject.card.fingerprint, features) if needed else None


def _is_begun_without(
    config: RunConfig, explainer: Explainer, subject: Subject, log: RunLog, features: Sequence[int]
) -> bool:
    maxima = maxima_for(config, subject, log, None, features)
    return log.ask(find_run, identity_of(config, subject, explainer, None, maxima)) is not None
