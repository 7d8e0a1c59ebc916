"""Exact histograms of many features at once over a stream whose range is not known before.

Bins are linear from 0 to a power of two that each feature has for itself; when a value exceeds it, pairs of bins become
one and the range doubles.
"""

import numpy as np
from jaxtyping import Float, Int

from probes.examples import Activity

N_BINS = 64


class Histograms:
    """Counts of positive values, by feature and size."""

    def __init__(self, n_features: int) -> None:
        self.maximum = np.zeros(n_features, dtype=np.float32)
        """Highest value seen; 0 for none."""
        self.range = np.zeros(n_features)
        """Power of two above the maximum; 0 before the first value."""
        self.counts = np.zeros((n_features, N_BINS), dtype=np.int64)
        """By equal parts of the range."""

    def add(self, features: Int[np.ndarray, "m"], values: Float[np.ndarray, "m"]) -> None:
        """Counts positive, finite values."""
        np.maximum.at(self.maximum, features, values)
        self._widen()
        bins = (values * (N_BINS / self.range[features])).astype(np.int64)
        np.add.at(self.counts.ravel(), features * N_BINS + bins, 1)

    def add_counted(self, place: int, maximum: float, counts: Int[np.ndarray, "n_bins"]) -> None:
        """Adds what another histogram of the same feature has counted; nothing where its maximum is 0."""
        if maximum == 0:
            return
        self.maximum[place] = max(self.maximum[place], np.float32(maximum))
        self._widen()
        [theirs] = _range_of(np.array([maximum], dtype=np.float32))
        narrower = np.zeros(N_BINS, dtype=np.int64)
        n_to_one = int(min(self.range[place] / theirs, N_BINS))
        narrower[: N_BINS // n_to_one] = counts.reshape(-1, n_to_one).sum(axis=1)
        self.counts[place] += narrower

    def activity(self, place: int, feature: int, n_tokens: int) -> Activity:
        """The counts at `place`, which are those of `feature`, with as many bins as its maximum needs."""
        width = self.range[place] / N_BINS
        needed = int(self.maximum[place] / width) + 1 if width else 0
        counts = self.counts[place, :needed]
        return Activity(
            feature=feature,
            n_tokens=n_tokens,
            n_active=int(counts.sum()),
            maximum=float(self.maximum[place]),
            edges=tuple((np.arange(needed + 1) * width).tolist()) if needed else (0.0,),
            counts=tuple(counts.tolist()),
        )

    def _widen(self) -> None:
        """Gives every feature a range that its maximum lies inside."""
        new = (self.range == 0) & (self.maximum > 0)
        self.range[new] = _range_of(self.maximum[new])
        while (narrow := (self.maximum >= self.range) & (self.maximum > 0)).any():
            self.counts[narrow, : N_BINS // 2] = self.counts[narrow].reshape(-1, N_BINS // 2, 2).sum(axis=2)
            self.counts[narrow, N_BINS // 2 :] = 0
            self.range[narrow] *= 2


def _range_of(maxima: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Returns the smallest powers of two above positive numbers."""
    return np.asarray(np.ldexp(1.0, np.frexp(maxima)[1]))
