"""How active features get at most, as a log's texts have it: the unit in which they are steered. Knows no subject."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from agent.errors import LogError
from agent.runlog import RunLog


@dataclass(frozen=True)
class Maxima:
    """Of one corpus, so that whatever is asked again gets the same answer."""

    log: RunLog
    corpus_id: int

    def of(self, feature: int) -> float | None:
        """The feature's highest activation; None where the corpus does not have it, or where it never fires."""
        found = self.log.collected(self.corpus_id, feature, kinds=())
        return None if found is None or found.activity is None else found.activity.maximum or None


def latest_maxima(log: RunLog | None, path: Path, fingerprint: str, features: Collection[int]) -> Maxima:
    """Those of the subject's latest corpus that has any of the features. Raises LogError where there is none."""
    corpus = log.latest_corpus(fingerprint, features) if log else None
    if log is None or corpus is None:
        raise LogError(
            f"Features are steered in units of their maximum activations, and {path} has none of these features: "
            f"collect texts with interpret examples --features ... --log {path}, or give the number with --maximum."
        )
    return Maxima(log, corpus.corpus_id)


def maximum_in(path: Path, fingerprint: str, feature: int) -> float | None:
    """What the log in that file has of the feature, its latest corpus first; None where it has nothing."""
    if not path.exists():
        return None
    with RunLog.open(path, read_only=True) as log:
        found = (Maxima(log, corpus.corpus_id).of(feature) for corpus in log.corpora(fingerprint))
        return next((maximum for maximum in found if maximum is not None), None)
