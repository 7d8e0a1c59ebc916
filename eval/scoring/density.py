"""Finds features that activate about as often as another, among those whose examples a corpus has."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from agent.log.examples import examples_of, features_collected
from agent.log.run_log import RunLog
from probes.examples import Example

MATCHES = 10
"""Most features that are matched to one."""
FACTOR = 3.0
"""They activate on at most so many times as many tokens, and at least on as large a part."""


@dataclass(frozen=True)
class DensityIndex:
    """Tells how often the features of a corpus activate."""

    log: RunLog
    corpus_id: int
    frequencies: Mapping[int, float]
    """Share of tokens on which each feature activates; without those of which it is not known, or that never do."""

    @classmethod
    def of(cls, log: RunLog, corpus_id: int) -> "DensityIndex":
        """Reads the frequencies of all features of a corpus."""
        found = (
            (feature, log.read(examples_of, corpus_id, feature, kinds=()))
            for feature in log.read(features_collected, corpus_id)
        )
        known = {feature: one.activity.frequency for feature, one in found if one and one.activity}
        return cls(log, corpus_id, {feature: value for feature, value in sorted(known.items()) if value > 0})

    def matched(self, feature: int, without: Collection[int], documents: Collection[str]) -> dict[int, list[Example]]:
        """Returns held-out activating examples of the features nearest in frequency; empty if it is not known.

        None is of a feature `without` which to match, or of one of the `documents`.
        """
        own = self.frequencies.get(feature)
        others = [other for other in self.frequencies if other != feature and other not in without]
        if own is None or not others:
            return {}
        distances = np.abs(np.log([self.frequencies[other] for other in others]) - math.log(own))
        order = [int(place) for place in np.argsort(distances, kind="stable")[:MATCHES]]
        near = [others[place] for place in order if distances[place] <= math.log(FACTOR)]
        found = {other: self.log.read(examples_of, self.corpus_id, other, "held_out", ["activating"]) for other in near}
        kept = {other: [e for e in one.examples if e.document not in documents] for other, one in found.items() if one}
        return {other: examples for other, examples in kept.items() if examples}
