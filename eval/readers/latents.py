"""Features' activating in a corpus as sparse entries -> counts, and which windows to keep."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from eval.readers.gathering import N_STRATA, stratum
from probes.examples import Activity

MAX_TOP = 32
MAX_PER_STRATUM = 8
_BINS = 50


@dataclass(frozen=True, eq=False)
class LatentEntries:
    """Positive activations of features: one entry for each active token of each feature."""

    feature: Int64[ndarray, " n"]
    row: Int64[ndarray, " n"]
    position: Int64[ndarray, " n"]
    value: Float32[ndarray, " n"]

    def __getitem__(self, which: Int64[ndarray, " m"] | slice) -> "LatentEntries":
        """Some of the entries."""
        return LatentEntries(self.feature[which], self.row[which], self.position[which], self.value[which])

    def by_feature(self) -> list["LatentEntries"]:
        """The entries of each feature, features and rows in order, in each row the highest value first."""
        ordered = self[np.lexsort((-self.value, self.row, self.feature))]
        bounds = np.flatnonzero(np.diff(ordered.feature)) + 1
        starts, ends = [0, *bounds.tolist()], [*bounds.tolist(), len(ordered.feature)]
        return [ordered[slice(start, end)] for start, end in zip(starts, ends, strict=True) if end > start]


def activity_of(entries: LatentEntries, n_tokens: int) -> Activity:
    """Returns the activity of the one feature that these entries are of, in `n_tokens` tokens."""
    maximum = float(entries.value.max())
    counts, edges = np.histogram(entries.value, bins=_BINS, range=(0.0, maximum))
    return Activity(
        feature=int(entries.feature[0]),
        n_tokens=n_tokens,
        n_active=len(entries.value),
        maximum=maximum,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def rows_to_keep(entries: LatentEntries, seed: int) -> list[LatentEntries]:
    """The entries of the rows to cut windows from, of one feature as `by_feature` orders them.

    Rows are judged by their highest activation: the 32 highest, and of the others a random 8 in each tenth of the
    range; the highest first. Each starts with the row's peak.
    """
    starts = np.flatnonzero(np.diff(entries.row, prepend=-1))
    ends = np.append(starts[1:], len(entries.row))
    peaks = entries.value[starts]
    chosen = _chosen(peaks, np.random.default_rng([seed, int(entries.feature[0])]))
    return [entries[slice(int(starts[place]), int(ends[place]))] for place in chosen]


def _chosen(peaks: Float32[ndarray, " rows"], rng: np.random.Generator) -> list[int]:
    falling = np.argsort(-peaks, kind="stable")
    maximum = float(peaks[falling[0]])
    strata: list[list[int]] = [[] for _ in range(N_STRATA)]
    for place in rng.permutation(falling[MAX_TOP:]).tolist():
        members = strata[stratum(float(peaks[place]), maximum)]
        if len(members) < MAX_PER_STRATUM:
            members.append(place)
    sampled = sorted((place for members in strata for place in members), key=lambda place: -peaks[place])
    return [*falling[:MAX_TOP].tolist(), *sampled]
