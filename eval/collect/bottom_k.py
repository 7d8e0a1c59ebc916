"""The k best of many groups at once, over a stream: arrays of a fixed size, and no Python work per entry.

With a random number as key it is a uniform sample (bottom-k sampling, Cohen & Kaplan 2007), with the negated value the
top k.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

StructuredArray = np.ndarray[Any, np.dtype[Any]]
"""A structured array, one element for each entry."""


@dataclass(frozen=True, eq=False)
class GroupEntries:
    """Some groups' entries, one element of each array for each entry."""

    groups: Int[np.ndarray, "n"]
    keys: Float[np.ndarray, "n"]
    names: UInt64[np.ndarray, "n"]
    rows: StructuredArray


class BottomK:
    """For each group the `k` names with the smallest keys: the same, whatever the order in which they are offered."""

    def __init__(self, n_groups: int, k: int, dtype: np.dtype[Any]) -> None:
        self._k = k
        self._keys = np.full((n_groups, k), np.inf)
        """Infinite where a place is free."""
        self._names = np.zeros((n_groups, k), dtype=np.uint64)
        self._rows = np.zeros((n_groups, k), dtype)  # pages that nothing is written to take no memory
        self._bars = np.full(n_groups, np.inf)

    def admits(self, groups: Int[np.ndarray, "n"], keys: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Tells for each key whether it is small enough for its group as it stands."""
        return np.asarray(keys < self._bars[groups])

    def put(
        self,
        groups: Int[np.ndarray, "n"],
        keys: Float[np.ndarray, "n"],
        names: UInt64[np.ndarray, "n"],
        rows_of: Callable[[Int[np.ndarray, "m"]], StructuredArray],
    ) -> None:
        """Offers entries with finite keys and names other than 0.

        Of several of one name a group keeps the one with the smallest key, and of equal keys the first that it was
        offered. `rows_of(places)` makes the rows of those that are kept, by their places in the arrays.
        """
        new = self._new(groups, keys, names)
        if len(new) == 0:
            return
        touched, candidates = self._best(groups, keys, new)
        offered = np.where(candidates >= 0, keys[candidates], np.nan)  # sorts behind everything, free places included
        both = np.concatenate([self._keys[touched], offered], axis=1)
        stays = np.zeros(both.shape, dtype=bool)
        np.put_along_axis(stays, np.argpartition(both, self._k - 1, axis=1)[:, : self._k], True, axis=1)
        # as many enter a group as leave it, and `nonzero` walks both row by row: they pair up
        row, column = stays[:, self._k :].nonzero()
        if len(row) == 0:
            return
        _, slot = (~stays[:, : self._k]).nonzero()
        group, chosen = touched[row], candidates[row, column]
        self._keys[group, slot], self._names[group, slot] = keys[chosen], names[chosen]
        self._rows[group, slot] = rows_of(chosen)
        self._bars[touched] = self._keys[touched].max(axis=1)

    def get(self, groups: Int[np.ndarray, "n_groups"]) -> GroupEntries:
        """The groups' entries, by group and then by key."""
        order = np.argsort(self._keys[groups], axis=1)
        row, place = np.isfinite(np.take_along_axis(self._keys[groups], order, axis=1)).nonzero()
        group, slot = groups[row], order[row, place]
        return GroupEntries(group, self._keys[group, slot], self._names[group, slot], self._rows[group, slot])

    def take(self, groups: Int[np.ndarray, "n_groups"]) -> GroupEntries:
        """Returns what `get` returns, and leaves the groups empty."""
        kept = self.get(groups)
        self._keys[groups] = np.inf
        self._bars[groups] = np.inf
        self._names[groups] = 0
        return kept

    def _new(
        self, groups: Int[np.ndarray, "n"], keys: Float[np.ndarray, "n"], names: UInt64[np.ndarray, "n"]
    ) -> Int[np.ndarray, "m"]:
        """Of the offered entries those of new names, one of each name, and makes room for one whose name has a larger
        key here: it is better than an entry that stays, so it will take a place."""
        order = np.lexsort((keys, names, groups))
        again = (np.diff(names[order], prepend=0) == 0) & (np.diff(groups[order], prepend=-1) == 0)
        distinct = order[~again]
        entry, slot = (self._names[groups[distinct]] == names[distinct, None]).nonzero()
        known = distinct[entry]
        better = keys[known] < self._keys[groups[known], slot]
        free = groups[known[better]], slot[better]
        self._keys[free], self._names[free] = np.inf, 0
        is_new = np.ones(len(distinct), dtype=bool)
        is_new[entry[~better]] = False
        return np.asarray(distinct[is_new])

    def _best(
        self, groups: Int[np.ndarray, "n"], keys: Float[np.ndarray, "n"], some: Int[np.ndarray, "m"]
    ) -> tuple[Int[np.ndarray, "t"], Int[np.ndarray, "t c"]]:
        """Of `some` places in the arrays: the groups that occur, and each one's k best at most, filled up with -1."""
        order = some[np.lexsort((keys[some], groups[some]))]
        touched, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
        row = np.repeat(np.arange(len(touched)), counts)
        rank = np.arange(len(order)) - first[row]
        good = rank < self._k
        places = np.full((len(touched), min(self._k, counts.max())), -1)
        places[row[good], rank[good]] = order[good]
        return touched, places
