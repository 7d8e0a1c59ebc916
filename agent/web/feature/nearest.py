"""The features nearest to one, with their labels and the measure of nearness.

By decoder cosine if a subject is loaded or the log has it, from the texts that neighbours activate on; else by the
words that labels share. A caller with a loaded subject passes the neighbours in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.log.labels import LabelRow, labels_of, labels_sharing_words
from agent.log.run_log import RunLog
from probes.examples import Example

MAX_NEAREST = 8


@dataclass(frozen=True)
class NearLabel:
    """A near feature; `row` is None if this run does not have it."""

    feature: int
    row: LabelRow | None


@dataclass(frozen=True)
class Nearest:
    """The nearest features, the nearest first."""

    measure: str
    neighbours: tuple[NearLabel, ...]


def nearest_labels(
    log: RunLog, row: LabelRow | None, run_id: int, feature: int, examples: Iterable[Example], known: Sequence[int]
) -> Nearest:
    """Finds the nearest features; `known` are those by a loaded subject's decoder, empty without one."""
    if known:
        return Nearest("by decoder cosine, of the loaded subject", _labelled(log, run_id, known))
    logged = list(dict.fromkeys(e.neighbour for e in examples if e.neighbour is not None and e.neighbour != feature))
    if logged:
        return Nearest(
            "by decoder cosine, found when examples were collected", _labelled(log, run_id, logged[:MAX_NEAREST])
        )
    if row is None or not row.label:
        return Nearest("", ())
    sharing = log.read(labels_sharing_words, run_id, feature, row.label, MAX_NEAREST)
    return Nearest("by words shared between their labels", tuple(NearLabel(other.feature, other) for other in sharing))


def _labelled(log: RunLog, run_id: int, features: Sequence[int]) -> tuple[NearLabel, ...]:
    rows = {row.feature: row for row in log.read(labels_of, run_id, features=features)}
    return tuple(NearLabel(feature, rows.get(feature)) for feature in features)
