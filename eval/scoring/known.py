"""Measures how well a run's labels agree with the embedded subject's known concepts.

Only `demo` has known concepts: its world was made, so what many of its features stand for was measured when it was
built (probes/demo/truth.py).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probes.demo.shipped import KnownConcept, ShippedTruth, load_truth
from probes.presets import SubjectSource
from probes.proportion import Proportion


@dataclass(frozen=True)
class ConceptAgreement:
    """Labels against known concepts, over all features that have one, unlabelled ones counting as wrong."""

    right: Proportion
    shuffled: Proportion
    """The same labels, each given to another feature."""

    def sentence(self) -> str:
        """The figures in one sentence, n and 95 % intervals with them."""
        return (
            f"Of {self.right.n} features whose concept is known, {self.right} are labelled with its name or a synonym; "
            f"with the labels shuffled, {self.shuffled}."
        )


def known_concepts(source: SubjectSource) -> ShippedTruth | None:
    """Returns the known concepts of the subject's features; None for every subject but `demo`."""
    return load_truth() if source.name == "demo" else None


def agreement(labels: Mapping[int, str | None], truth: ShippedTruth, seed: int = 0) -> ConceptAgreement | None:
    """Counts the labels that name their feature's known concept; None if fewer than two features have one.

    `labels` holds every feature of the run, None for one without a label. The control is a seeded derangement: every
    label goes to another feature with a known concept, which may by chance share its concept.
    """
    features = [f for f in sorted(labels) if f in truth.features]
    if len(features) < 2:  # a single label cannot be given to another feature
        return None
    given = [labels[f] for f in features]
    concepts = [truth.features[f] for f in features]
    return ConceptAgreement(_share(given, concepts, truth), _share(_deranged(given, seed), concepts, truth))


def names_concept(label: str | None, concept: KnownConcept, truth: ShippedTruth) -> bool:
    """Tells whether the label names this concept and no unrelated one; a concept that it is a kind of may be named
    too.
    """
    words = re.findall(r"[a-z]+", (label or "").lower())
    named = {truth.concept_of_name[word] for word in words if word in truth.concept_of_name}
    return concept.name in named and named <= set(concept.lineage)


def _share(labels: Sequence[str | None], concepts: Sequence[KnownConcept], truth: ShippedTruth) -> Proportion:
    right = [names_concept(label, concept, truth) for label, concept in zip(labels, concepts, strict=True)]
    return Proportion(sum(right), len(right))


def _deranged(labels: Sequence[str | None], seed: int) -> list[str | None]:
    """The labels along one random cycle, so that none stays where it was."""
    order = np.random.default_rng(seed).permutation(len(labels))
    moved: list[str | None] = list(labels)
    for here, there in zip(order, np.roll(order, 1), strict=True):
        moved[here] = labels[there]
    return moved
