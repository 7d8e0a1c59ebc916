"""Collects from a pass over a corpus: counts, the strongest windows, a sample over each feature's range, random ones.

Its size depends on the numbers of features and of what is kept, never on the corpus. What it keeps depends on what it
was given and not on the order: tallies of the parts of a corpus add up to the tally of all of it. NumPy throughout;
knows no model and no text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from eval.collect.bottom_k import BottomK, GroupEntries, StructuredArray
from eval.collect.histogram import Histograms
from eval.collect.windows import WindowBatch

STRATA = 10
"""Tenths of a feature's range, by which examples are told apart."""
CELLS = 16
"""Equal parts of a feature's range up to a power of two, from each of which windows are sampled: 8 to 16 of them lie
below the maximum. Pairs of them become one when the range doubles, so that a sample never hangs on when it did."""
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
        """Some of the activations."""
        return BatchActivations(
            self.batch, self.rows[there], self.places[there], self.columns[there], self.values[there]
        )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The windows of a batch in which a feature is active, with that feature: one element of each array a pair."""

    activated: BatchActivations
    """In the order of the pairs."""
    firsts: Int[np.ndarray, "n"]
    """Of each pair's activations, the first."""
    counts: Int[np.ndarray, "n"]
    """How many activations each has."""
    peaks: Float[np.ndarray, "n"]

    @property
    def rows(self) -> Int[np.ndarray, "n"]:
        return np.take(self.activated.rows, self.firsts)

    @property
    def columns(self) -> Int[np.ndarray, "n"]:
        return np.take(self.activated.columns, self.firsts)

    def activations(self, some: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k pos"]:
        """The whole windows' activations, of some pairs."""
        counts = self.counts[some]
        owner = np.repeat(np.arange(len(some)), counts)
        activating = np.arange(len(owner)) + np.repeat(self.firsts[some] - np.cumsum(counts) + counts, counts)
        found = np.zeros((len(some), self.activated.batch.ids.shape[1]), dtype=np.float32)
        found[owner, self.activated.places[activating]] = self.activated.values[activating]
        return found


def _pairs(activated: BatchActivations, n_features: int) -> _Pairs:
    pair = activated.rows * n_features + activated.columns
    order = np.argsort(pair)
    ordered = BatchActivations(
        activated.batch,
        activated.rows[order],
        activated.places[order],
        activated.columns[order],
        activated.values[order],
    )
    firsts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    counts = np.diff(firsts, append=len(order))
    peaks = np.maximum.reduceat(ordered.values, firsts) if len(firsts) else ordered.values
    return _Pairs(ordered, firsts, counts, peaks)


@dataclass(frozen=True)
class TallySizes:
    """Sizes of what is kept of each feature, and of the pool."""

    top: int
    per_cell: int
    pool: int


def _rows_with(name: str, size: int) -> np.dtype:
    """Returns the structured type of a kept window, with `size` numbers called `name`."""
    common = [("place", "i8"), ("document", "O"), ("start", "i8"), ("length", "i4"), ("ids", "i4", (LONGEST,))]
    return np.dtype([*common, (name, "f4", (size,))])


ACTIVATIONS = _rows_with("activations", LONGEST)


@dataclass(frozen=True, eq=False)
class KeptWindows:
    """Windows that a tally keeps, with the names that stand for their tokens."""

    names: UInt64[np.ndarray, "n"]
    rows: StructuredArray

    @classmethod
    def together(cls, parts: Sequence["KeptWindows"]) -> "KeptWindows":
        """Returns all windows of the parts, each once, in the order of the corpus."""
        names, rows = (np.concatenate(column) for column in zip(*((p.names, p.rows) for p in parts), strict=True))
        order = np.unique(rows["place"], return_index=True)[1]
        return cls(names[order], rows[order])


@dataclass(frozen=True, eq=False)
class FeatureTally:
    """All that a tally has of one feature."""

    maximum: float
    counts: Int[np.ndarray, "n_bins"]
    windows: KeptWindows


class Tally:
    """Adds up batches."""

    def __init__(self, features: Sequence[int], sizes: TallySizes, seed: int) -> None:
        n = len(features)
        self.n_tokens = 0
        self.histograms = Histograms(n)
        self._top = BottomK(n, sizes.top, ACTIVATIONS)
        self._cells = BottomK(n * CELLS, sizes.per_cell, ACTIVATIONS)
        self._pool = BottomK(1, sizes.pool, pool_rows(n))
        self._n_features = n
        rng = np.random.default_rng(seed)
        self._multipliers = rng.integers(2**63, size=1 << 16, dtype=np.uint64) * 2 + 1
        self._pool_salts = rng.integers(2**63, size=2, dtype=np.uint64)
        # of the feature, not of its column: its sample is the same whatever features are read beside it
        self._salts = mixed(rng.integers(2**63, dtype=np.uint64) + np.array(features, dtype=np.uint64))

    def add(self, activated: BatchActivations) -> None:
        """Counts a batch and keeps of it what is worth keeping; of windows of the very same tokens, one."""
        self.n_tokens += activated.batch.n_tokens
        self._count(activated)
        names = self._names(activated.batch)
        different = np.unique(names, return_index=True)[1]
        chosen = np.zeros(len(names), dtype=bool)
        chosen[different] = True
        pairs = _pairs(activated.some(chosen[activated.rows] & self._promising(activated, names)), self._n_features)
        of_window = names[pairs.rows]
        for shelves, groups, keys in self._shelves(pairs.columns, pairs.peaks, of_window):
            self._offer(shelves, pairs, groups, keys, of_window)
        self._add_to_pool(activated, names, different)

    def kept(self, place: int) -> tuple[KeptWindows, KeptWindows]:
        """A feature's strongest windows, the strongest first; and its sample, the upper cells first."""
        cells = self._sample(place)
        # one window may lie in two cells: in two batches its activations differ in the last digits
        order = np.lexsort((cells.rows["place"], cells.names))
        different = order[np.diff(cells.names[order], prepend=0) != 0]
        good = different[np.lexsort((cells.keys[different], -cells.groups[different]))]
        return self._strongest(place), KeptWindows(cells.names[good], cells.rows[good])

    def of_feature(self, place: int) -> FeatureTally:
        """All that there is of one feature, to be added to other tallies'."""
        cells = self._sample(place)
        windows = KeptWindows.together([self._strongest(place), KeptWindows(cells.names, cells.rows)])
        histograms = self.histograms
        return FeatureTally(float(histograms.maximum[place]), histograms.counts[place], windows)

    def add_feature(self, place: int, parts: Sequence[FeatureTally]) -> None:
        """Adds up what tallies of different batches have of a feature of which this one has nothing."""
        for part in parts:
            self.histograms.add_counted(place, part.maximum, part.counts)
        windows = KeptWindows.together([part.windows for part in parts])
        columns, peaks = np.full(len(windows.names), place), _peaks(windows.rows)
        for shelves, groups, keys in self._shelves(columns, peaks, windows.names):
            shelves.put(groups, keys, windows.names, lambda kept: windows.rows[kept])

    def _strongest(self, place: int) -> KeptWindows:
        found = self._top.get(np.array([place]))
        return KeptWindows(found.names, found.rows)

    def _sample(self, place: int) -> GroupEntries:
        return self._cells.get(np.arange(place * CELLS, (place + 1) * CELLS))

    @property
    def pool(self) -> KeptWindows:
        """Random windows, with the peak of every chosen feature in each."""
        kept = self._pool.get(np.array([0]))
        return KeptWindows(kept.names, kept.rows)

    def add_pool(self, parts: Sequence[KeptWindows]) -> None:
        """Adds up the pools of tallies of different batches."""
        windows = KeptWindows.together(parts)
        groups, keys = np.zeros(len(windows.names), dtype=np.int64), _uniform(windows.names ^ self._pool_salts[0])
        self._pool.put(groups, keys, windows.names, lambda kept: windows.rows[kept])

    def _count(self, activated: BatchActivations) -> None:
        before = self.histograms.range.copy()
        self.histograms.add(activated.columns, activated.values)
        grown = ((self.histograms.range > before) & (before > 0)).nonzero()[0]
        if len(grown):
            self._regroup(grown)

    def _promising(self, activated: BatchActivations, names: UInt64[np.ndarray, "batch"]) -> Bool[np.ndarray, "m"]:
        """The activations of windows and features of which a shelf would admit at least one taken for the peak.

        The peak is one of them, so none that a shelf would admit is missing; after a while most are not worth sorting.
        """
        columns, pair = activated.columns, activated.rows * self._n_features + activated.columns
        admitted = np.zeros(len(columns), dtype=bool)
        for shelves, groups, keys in self._shelves(columns, activated.values, names[activated.rows]):
            admitted |= shelves.admits(groups, keys)
        promising = np.zeros(len(names) * self._n_features, dtype=bool)
        promising[pair[admitted]] = True
        return np.asarray(promising[pair])

    def _shelves(
        self, columns: Int[np.ndarray, "n"], peaks: Float[np.ndarray, "n"], names: UInt64[np.ndarray, "n"]
    ) -> tuple[tuple[BottomK, Int[np.ndarray, "n"], Float[np.ndarray, "n"]], ...]:
        """The strongest and the sample, each with the groups and keys that windows of these peaks and names have."""
        return (
            (self._top, columns, _strongest_first(peaks, names)),
            (self._cells, self._cell(columns, peaks), _uniform(names ^ self._salts[columns])),
        )

    def _cell(self, columns: Int[np.ndarray, "n"], peaks: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        return np.asarray(columns * CELLS + (peaks * (CELLS / self.histograms.range[columns])).astype(np.int64))

    def _regroup(self, features: Int[np.ndarray, "n"]) -> None:
        """Puts what is kept of features whose range has grown into the cells of the new range."""
        kept = self._cells.take((features[:, None] * CELLS + np.arange(CELLS)).ravel())
        order = np.argsort(kept.rows["place"], kind="stable")  # of two of one name the first in the corpus stays
        names, keys, rows = kept.names[order], kept.keys[order], kept.rows[order]
        self._cells.put(self._cell(kept.groups[order] // CELLS, _peaks(rows)), keys, names, lambda some: rows[some])

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
        self, activated: BatchActivations, names: UInt64[np.ndarray, "batch"], rows: Int[np.ndarray, "n"]
    ) -> None:
        """Offers some of the batch's windows to the pool."""
        keys = _uniform(names ^ self._pool_salts[0])
        places = mixed(names ^ self._pool_salts[1])
        groups = np.zeros(len(names), dtype=np.int64)
        good = rows[self._pool.admits(groups[rows], keys[rows])]
        self._pool.put(
            groups[good],
            keys[good],
            names[good],
            lambda kept: self._pool_rows(activated, good[kept], places[good[kept]]),
        )

    def _pool_rows(
        self, activated: BatchActivations, rows: Int[np.ndarray, "n"], where: UInt64[np.ndarray, "n"]
    ) -> StructuredArray:
        """Stretches of the windows `rows`, each at a random place, and the peaks within them."""
        room = np.maximum(0, activated.batch.lengths[rows] - LONGEST)
        firsts = (where % (room + 1).astype(np.uint64)).astype(np.int64)
        found = np.zeros(len(rows), pool_rows(self._n_features))
        _fill(found, activated.batch, rows, firsts)
        rank = np.full(len(activated.batch.ids), -1)
        rank[rows] = np.arange(len(rows))
        at = rank[activated.rows]
        offset = activated.places - activated.batch.lead - firsts[at]
        inside = (at >= 0) & (offset >= 0) & (offset < LONGEST)
        np.maximum.at(found["peaks"], (at[inside], activated.columns[inside]), activated.values[inside])
        return found


def pool_rows(n_features: int) -> np.dtype:
    """Returns the structured type of a window of the pool."""
    return _rows_with("peaks", n_features)


def _peaks(rows: StructuredArray) -> Float[np.ndarray, "n"]:
    return np.asarray(rows["activations"].max(axis=1))


def _strongest_first(peaks: Float[np.ndarray, "n"], names: UInt64[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Keys that rise as peaks fall. Peaks are float32: the 29 bits that float64 has beyond them order equal ones."""
    bits = (-peaks.astype(np.float64)).view(np.uint64) | (names >> np.uint64(35))
    return np.asarray(bits.view(np.float64))


def stratum(peaks: Float[np.ndarray, "n"], maxima: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Returns the tenth of the range from 0 to the maximum that a peak lies in; the highest is 0."""
    tenths = ((1 - peaks / maxima) * STRATA).astype(np.int64)
    return np.asarray(tenths.clip(0, STRATA - 1))


def _stretches(pairs: _Pairs, some: Int[np.ndarray, "n"]) -> StructuredArray:
    """The windows of some pairs, cut to LONGEST tokens with the feature's peak in the middle, where it can be."""
    batch, rows = pairs.activated.batch, pairs.rows[some]
    everywhere = pairs.activations(some)
    peaks = everywhere.argmax(axis=1) - batch.lead
    firsts = np.clip(peaks - LONGEST // 2, 0, np.maximum(0, batch.lengths[rows] - LONGEST))
    found = np.zeros(len(rows), ACTIVATIONS)
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
    found["place"] = batch.first + rows
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
