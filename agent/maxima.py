"""Finds features' maximum activations in a log's examples: the unit in which they are steered."""

from dataclasses import dataclass
from pathlib import Path

from agent.errors import LogError
from agent.log.examples import CorpusRow, corpora_of, corpus_identity, examples_of
from agent.log.naming import log_option
from agent.log.run_log import RunLog

UNIT = "unit"
"""In a corpus's settings: that activations which came in another unit than the SAE's own are kept in this."""
_IN_OTHERS = ("neuronpedia", "saedashboard")
"""Sources whose activations mostly do; logs of older versions have them as they came, which is nothing to steer by."""


@dataclass(frozen=True)
class CorpusMaxima:
    """The maxima in one corpus, so that the same question always gets the same answer."""

    log: RunLog
    corpus_id: int
    in_own_unit: bool = True
    """True if the corpus's activations are in the SAE's own unit, in which features are steered."""

    @property
    def corpus(self) -> str:
        """Returns the identity of the corpus, the same in any log."""
        return self.log.read(corpus_identity, self.corpus_id)

    def of(self, feature: int) -> float | None:
        """Returns the feature's highest activation; None if it is not in the corpus or never activates."""
        if not self.in_own_unit:
            return None
        found = self.log.read(examples_of, self.corpus_id, feature, kinds=())
        return None if found is None or found.activity is None else found.activity.maximum or None


def maxima_of(log: RunLog, corpus: CorpusRow) -> CorpusMaxima:
    """Returns the maxima of a corpus; none are known if it may have them in another unit than the SAE's own."""
    return CorpusMaxima(log, corpus.corpus_id, UNIT in corpus.settings or not corpus.source.startswith(_IN_OTHERS))


def no_maxima(path: Path) -> LogError:
    """Returns the error if the log at `path` has no examples of the features that are to be steered."""
    return LogError(
        f"Features are steered in units of their maximum activations, and {path} has none of these features: "
        f"collect texts with interpret examples --features ... {log_option(path)}, or give the number with --maximum."
    )


def in_another_unit(path: Path, corpus: CorpusRow) -> LogError:
    """Returns the error if a corpus's activations may be in another unit."""
    return LogError(
        f"Features are steered in units of their maximum activations, and those of {corpus.source} in {path} were "
        "imported by an older version, perhaps in another unit than the SAE's own: import them again, or give the "
        "number with --maximum."
    )


def maximum_in(path: Path, fingerprint: str, feature: int) -> float | None:
    """Returns the feature's maximum in the log in that file, its latest corpus first; None if it has none."""
    if not path.exists():
        return None
    with RunLog.open(path, read_only=True) as log:
        found = (maxima_of(log, corpus).of(feature) for corpus in log.read(corpora_of, fingerprint))
        return next((maximum for maximum in found if maximum is not None), None)
