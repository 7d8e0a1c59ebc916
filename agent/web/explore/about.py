"""Describes a feature that is being explored, from the log: its label, its activating examples, other places.

Every text returned is safe to print.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.log.examples import corpora_of, examples_of
from agent.log.labels import Labelled, labelled
from agent.log.run_log import RunLog
from agent.web.feature.texts import ExampleView, Mistakes, activates_on, activating
from agent.web.feature.view import neuronpedia_page
from probes.examples import Activity, FeatureExamples, Split
from probes.presets import SubjectCard

MAX_EXAMPLES = 6
_SPLITS: tuple[Split, ...] = ("shown", "held_out")


@dataclass(frozen=True)
class About:
    """The log's facts about one feature; empty if there are none."""

    feature: int
    label: Labelled | None
    """Its label in the latest run that finished it."""
    activity: Activity | None
    activates_on: tuple[str, ...]
    texts: Sequence[ExampleView]
    """Its strongest examples."""
    n_texts: int
    neuronpedia: str | None


def about(log: RunLog, card: SubjectCard, feature: int) -> About:
    """Returns the log's facts about a feature of that subject."""
    found = log.read(labelled, card.fingerprint, [feature])
    collected = _collected(log, card.fingerprint, feature)
    examples = {split: side.examples for split, side in collected.items()}
    texts = activating(examples, Mistakes())
    return About(
        feature=feature,
        label=found[0] if found else None,
        activity=next((side.activity for side in collected.values()), None),
        activates_on=activates_on([example for some in examples.values() for example in some]),
        texts=texts[:MAX_EXAMPLES],
        n_texts=len(texts),
        neuronpedia=neuronpedia_page(card.neuronpedia, feature),
    )


def _collected(log: RunLog, fingerprint: str, feature: int) -> dict[Split, FeatureExamples]:
    """Returns the examples of the latest corpus that has the feature."""
    for corpus in log.read(corpora_of, fingerprint):
        found = {split: log.read(examples_of, corpus.corpus_id, feature, split, ["activating"]) for split in _SPLITS}
        if any(found.values()):
            return {split: side for split, side in found.items() if side is not None}
    return {}
