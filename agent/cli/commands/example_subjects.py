"""The features of an SAE whose examples are wanted, and what decides which examples those are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from agent.config import RunConfig
from agent.log.examples import CorpusIdentity
from eval.collect.corpora import content
from eval.collect.corpus_pass import CollectSettings
from eval.collect.similar import Embed
from eval.embedders import SentenceEmbedder, recorded
from probes.subject import Subject


@dataclass(frozen=True)
class SubjectFeatures:
    """The features of one SAE whose examples are wanted."""

    config: RunConfig
    subject: Subject
    features: Sequence[int]

    @cached_property
    def identity(self) -> CorpusIdentity:
        """Returns the identity of the examples that a whole pass over the corpus gives."""
        wanted = self.config.examples
        how = {**wanted.model_dump(mode="json"), "content": content(wanted.corpus), **similarity(self.config)}
        return identity_of(self.config, self.subject, wanted.corpus, how)


def identity_of(config: RunConfig, subject: Subject, source: str, settings: dict[str, object]) -> CorpusIdentity:
    """Returns the identity of a subject's examples from a source."""
    return CorpusIdentity(subject=subject.card, source=source, settings=settings, seed=config.seed)


def collect_settings(config: RunConfig) -> CollectSettings:
    """Returns the settings of a pass."""
    wanted = config.examples
    return CollectSettings(n_tokens=wanted.tokens, context=wanted.context, seed=config.seed)


def similarity(config: RunConfig) -> dict[str, object]:
    """Returns the setting that decides, beside the texts, which non-activating examples are similar ones."""
    return {"embedder": recorded(config.score.embedder)} if config.score.embedder else {}


def embed_of(config: RunConfig) -> Embed | None:
    """Returns the embedder that finds similar texts; None where words do."""
    return SentenceEmbedder(config.score.embedder).encode if config.score.embedder else None
