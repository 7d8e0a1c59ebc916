"""Collects from a pass over a corpus: counts, the strongest windows, a sample over each feature's range, random ones.

Its size depends on the numbers of features and of what is kept, never on the corpus. NumPy throughout; knows no model
and no text.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from eval.collect.bottom_k import BottomK, GroupEntries, StructuredArray
from eval.collect.histogram import Histograms
from eval.collect.windows import WindowBatch

STRATA = 10
LONGEST = 64
"""Tokens of an example."""

_COUNTER = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))
"""Constants of SplitMix64 (Steele, Lea & Flood 2014)."""


@dataclass(frozen=True, eq=False)
class BatchActivations:
    """Positive activations of chosen features in a batch, at counted tokens only: an element of each array for each."""

    batch: WindowBatch
    rows: Int[np.ndarray, "m"]
    places: Int[np.ndarray, "m"]
    columns: Int[np.ndarray, "m"]
    """Which of the chosen features."""
    values: Float[np.ndarray, "m"]

    def some(self, there: Bool[np.ndarray, "m"]) -> "BatchActivations":
        """Some of the firings."""
        return BatchActivations(
            self.batch, self.rows[there], self.places[there], self.columns[there], self.values[there]
        )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The windows of a batch in which a feature fired, with that feature: one element of each array for each pair."""

    fired: BatchActivations
    """In the order of the pairs."""
    firsts: Int[np.ndarray, "n"]
    """Of each pair's firings, the first."""
    counts: Int[np.ndarray, "n"]
    """How many firings each has."""
    peaks: Float[np.ndarray, "n"]

    @property
    def rows(self) -> Int[np.ndarray, "n"]:
        return np.take(self.fired.rows, self.firsts)

    @property
    def columns(self) -> Int[np.ndarray, "n"]:
        return np.take(self.fired.columns, self.firsts)

    def activations(self, some: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k pos"]:
        """The whole windows' activations, of some pairs."""
        counts = self.counts[some]
        owner = np.repeat(np.arange(len(some)), counts)
        firing = np.arange(len(owner)) + np.repeat(self.firsts[some] - np.cumsum(counts) + counts, counts)
        found = np.zeros((len(some), self.fired.batch.ids.shape[1]), dtype=np.float32)
        found[owner, self.fired.places[firing]] = self.fired.values[firing]
        return found


def _pairs(fired: BatchActivations, n_features: int) -> _Pairs:
    pair = fired.rows * n_features + fired.columns
    order = np.argsort(pair)
    ordered = BatchActivations(
        fired.batch, fired.rows[order], fired.places[order], fired.columns[order], fired.values[order]
    )
    firsts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    counts = np.diff(firsts, append=len(order))
    peaks = np.maximum.reduceat(ordered.values, firsts) if len(firsts) else ordered.values
    return _Pairs(ordered, firsts, counts, peaks)


@dataclass(frozen=True)
class TallySizes:
    """Sizes of what is kept."""

    n_features: int
    top: int
    per_stratum: int
    pool: int


def _rows_with(name: str, size: int) -> np.dtype:
    """Returns the structured type of a kept window, with `size` numbers called `name`."""
    common = [("document", "O"), ("start", "i8"), ("length", "i4"), ("ids", "i4", (LONGEST,))]
    return np.dtype([*common, (name, "f4", (size,))])


_ACTIVATIONS = _rows_with("activations", LONGEST)


class Tally:
    """Adds up batches."""

    def __init__(self, sizes: TallySizes, seed: int) -> None:
        n = sizes.n_features
        self.n_tokens = 0
        self.histograms = Histograms(n)
        self._top = BottomK(n, sizes.top, _ACTIVATIONS)
        self._strata = BottomK(n * STRATA, sizes.per_stratum, _ACTIVATIONS)
        self._pool = BottomK(1, sizes.pool, _rows_with("peaks", n))
        self._n_features = n
        rng = np.random.default_rng(seed)
        self._multipliers = rng.integers(2**63, size=1 << 16, dtype=np.uint64) * 2 + 1
        self._salts = rng.integers(2**63, size=n + 2, dtype=np.uint64)

    def add(self, fired: BatchActivations) -> None:
        """Counts a batch and keeps of it what is worth keeping; of windows of the very same tokens, one."""
        self.n_tokens += fired.batch.n_tokens
        self._count(fired)
        names = self._names(fired.batch)
        different = np.unique(names, return_index=True)[1]
        chosen = np.zeros(len(names), dtype=bool)
        chosen[different] = True
        pairs = _pairs(fired.some(chosen[fired.rows] & self._promising(fired, names)), self._n_features)
        columns, of_window = pairs.columns, names[pairs.rows]
        tenth = stratum(pairs.peaks, self.histograms.maximum[columns])
        self._offer(self._top, pairs, columns, -pairs.peaks.astype(np.float64), of_window)
        keys = _uniform(of_window ^ self._salts[columns])
        self._offer(self._strata, pairs, columns * STRATA + tenth, keys, of_window)
        self._add_to_pool(fired, names, different)

    def kept(self, feature: int) -> tuple[GroupEntries, GroupEntries]:
        """A feature's strongest windows, the strongest first; and its sample, the upper strata first."""
        strata = np.arange(feature * STRATA, (feature + 1) * STRATA)
        return self._top.get(np.array([feature])), self._strata.get(strata)

    @property
    def pool(self) -> StructuredArray:
        """Random windows, with the peak of every chosen feature in each."""
        return self._pool.get(np.array([0])).rows

    def _count(self, fired: BatchActivations) -> None:
        before = self.histograms.maximum.copy()
        self.histograms.add(fired.columns, fired.values)
        grown = ((self.histograms.maximum > before) & (before > 0)).nonzero()[0]
        if len(grown):
            self._regroup(grown)

    def _promising(self, fired: BatchActivations, names: UInt64[np.ndarray, "batch"]) -> Bool[np.ndarray, "m"]:
        """The firings of windows and features of which a shelf would admit at least one firing taken for the peak.

        The peak is one of them, so none that a shelf would admit is missing; after a while most are not worth sorting.
        """
        columns, pair = fired.columns, fired.rows * self._n_features + fired.columns
        tenth = stratum(fired.values, self.histograms.maximum[columns])
        keys = _uniform(names[fired.rows] ^ self._salts[columns])
        admitted = self._top.admits(columns, -fired.values.astype(np.float64))
        admitted |= self._strata.admits(columns * STRATA + tenth, keys)
        promising = np.zeros(len(names) * self._n_features, dtype=bool)
        promising[pair[admitted]] = True
        return np.asarray(promising[pair])

    def _regroup(self, features: Int[np.ndarray, "n"]) -> None:
        """Puts what is kept of features whose range has grown into the strata of the new range.

        What an old stratum had no room for is gone, so a stratum made of several is a sample of nearly, not exactly,
        equal chances; the range stops growing early.
        """
        kept = self._strata.take((features[:, None] * STRATA + np.arange(STRATA)).ravel())
        columns = kept.groups // STRATA
        peaks = kept.rows["activations"].max(axis=1)
        groups = columns * STRATA + stratum(peaks, self.histograms.maximum[columns])
        self._strata.put(groups, kept.keys, kept.names, lambda places: kept.rows[places])

    def _offer(
        self, shelves: BottomK, pairs: _Pairs, groups: StructuredArray, keys: StructuredArray, names: StructuredArray
    ) -> None:
        """Puts on the shelves what they admit of the pairs."""
        good = shelves.admits(groups, keys).nonzero()[0]
        shelves.put(groups[good], keys[good], names[good], lambda kept: _stretches(pairs, good[kept]))

    def _names(self, batch: WindowBatch) -> UInt64[np.ndarray, "batch"]:
        """A number that stands for a window's tokens: the same for the same text, wherever it is met."""
        multipliers = self._multipliers[: batch.ids.shape[1]]
        there = np.arange(batch.ids.shape[1]) < batch.lead + batch.lengths[:, None]
        return mixed(((batch.ids.astype(np.uint64) + np.uint64(1)) * multipliers * there).sum(axis=1))

    def _add_to_pool(
        self, fired: BatchActivations, names: UInt64[np.ndarray, "batch"], rows: Int[np.ndarray, "n"]
    ) -> None:
        """Offers some of the batch's windows to the pool."""
        keys = _uniform(names ^ self._salts[-1])
        places = mixed(names ^ self._salts[-2])
        groups = np.zeros(len(names), dtype=np.int64)
        good = rows[self._pool.admits(groups[rows], keys[rows])]
        self._pool.put(
            groups[good], keys[good], names[good], lambda kept: self._pool_rows(fired, good[kept], places[good[kept]])
        )

    def _pool_rows(
        self, fired: BatchActivations, rows: Int[np.ndarray, "n"], where: UInt64[np.ndarray, "n"]
    ) -> StructuredArray:
        """Stretches of the windows `rows`, each at a random place, and the peaks within them."""
        room = np.maximum(0, fired.batch.lengths[rows] - LONGEST)
        firsts = (where % (room + 1).astype(np.uint64)).astype(np.int64)
        found = np.zeros(len(rows), _rows_with("peaks", self._n_features))
        _fill(found, fired.batch, rows, firsts)
        rank = np.full(len(fired.batch.ids), -1)
        rank[rows] = np.arange(len(rows))
        at = rank[fired.rows]
        offset = fired.places - fired.batch.lead - firsts[at]
        inside = (at >= 0) & (offset >= 0) & (offset < LONGEST)
        np.maximum.at(found["peaks"], (at[inside], fired.columns[inside]), fired.values[inside])
        return found


def stratum(peaks: Float[np.ndarray, "n"], maxima: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Returns the tenth of the range from 0 to the maximum that a peak lies in; the highest is 0."""
    tenths = ((1 - peaks / maxima) * STRATA).astype(np.int64)
    return np.asarray(tenths.clip(0, STRATA - 1))


def _stretches(pairs: _Pairs, some: Int[np.ndarray, "n"]) -> StructuredArray:
    """The windows of some pairs, cut to LONGEST tokens with the feature's peak in the middle, where it can be."""
    batch, rows = pairs.fired.batch, pairs.rows[some]
    everywhere = pairs.activations(some)
    peaks = everywhere.argmax(axis=1) - batch.lead
    firsts = np.clip(peaks - LONGEST // 2, 0, np.maximum(0, batch.lengths[rows] - LONGEST))
    found = np.zeros(len(rows), _ACTIVATIONS)
    places = _fill(found, batch, rows, firsts)
    found["activations"] = np.where(places >= 0, np.take_along_axis(everywhere, places, axis=1), 0)
    return found


def _fill(
    found: StructuredArray, batch: WindowBatch, rows: Int[np.ndarray, "n"], firsts: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "n longest"]:
    """Writes into `found` what windows hold from their tokens `firsts` on; gives its places, -1 past the end."""
    lengths = np.minimum(batch.lengths[rows] - firsts, LONGEST)
    offsets = np.arange(LONGEST)
    places = np.where(offsets < lengths[:, None], batch.lead + firsts[:, None] + offsets, -1)
    found["document"] = [batch.documents[row] for row in rows]
    found["start"] = batch.starts[rows] + firsts
    found["length"] = lengths
    found["ids"] = np.where(places >= 0, batch.ids[rows[:, None], places], 0)
    return places


def mixed(numbers: UInt64[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    """Numbers whose bits look random and depend on all bits of the given ones."""
    numbers = numbers + _COUNTER
    for shift, factor in _MIX:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * factor
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _uniform(numbers: UInt64[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Numbers between 0 and 1 in place of whole ones."""
    return np.asarray((mixed(numbers) >> np.uint64(11)) * 2.0**-53)
