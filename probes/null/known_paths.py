"""Follows the paths of trees after the ghosts of a null distribution, each path once for all trees.

Features are defined in much the same words ("a kind of", "a person who"), and every path costs a forward for each of
the null's ghosts: more than growing the trees themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from probes.growing.choosing import Trie
from probes.growing.growth import Grower

MAX_PATHS = 200_000
"""Beyond it all are forgotten, some 40 MB; the commonest are soon known again."""

_Key = tuple[int, int]
"""The place of the path that a node goes on, -1 for a root, and its token."""


@dataclass(frozen=True)
class PathNodes:
    """Some nodes of a tree, each after its parent."""

    parents: Int[Tensor, " n"]
    """Places among them; -1 for the root."""
    token_ids: Int[Tensor, " n"]


class KnownPaths:
    """Holds what the null's ghosts make of paths: the bare centroid, which comes first, and the mean of the others."""

    def __init__(self, ghosts: Float[Tensor, "n_ghosts d_model"]) -> None:
        self.ghosts = ghosts
        """Scaled as the embedding's output is."""
        self._places: dict[_Key, int] = {}
        self._known: Float64[Tensor, "2 n_paths"] = torch.empty(2, 0, dtype=torch.float64)

    def probabilities(self, grower: Grower, trees: Sequence[PathNodes]) -> list[Float64[Tensor, "2 n"]]:
        """Returns the nodes' probabilities after the centroid and under the null, cumulative from the root."""
        if len(self._places) > MAX_PATHS:
            self._places, self._known = {}, self._known[:, :0]
        fresh: dict[_Key, int] = {}
        marks = [self._mark(tree, fresh) for tree in trees]
        if fresh:
            found = self._followed(grower, fresh)  # may fail, and then nothing is half known
            self._places |= fresh
            self._known = torch.cat([self._known, found], dim=1)
        return [self._known[:, mark] for mark in marks]

    def _mark(self, tree: PathNodes, fresh: dict[_Key, int]) -> Int[Tensor, " n"]:
        """Returns the places of a tree's nodes; those not known yet are put into `fresh`."""
        mark: list[int] = []
        for parent, token in zip(tree.parents.tolist(), tree.token_ids.tolist(), strict=True):
            key = (mark[parent] if parent >= 0 else -1, token)
            place = self._places.get(key)
            mark.append(fresh.setdefault(key, len(self._places) + len(fresh)) if place is None else place)
        return torch.tensor(mark)

    def _followed(self, grower: Grower, fresh: dict[_Key, int]) -> Float64[Tensor, "2 n_fresh"]:
        """Follows the fresh paths, with the known ones that they go on."""
        keys = [*self._places, *fresh]  # by place
        wanted: set[int] = set()
        for place in fresh.values():
            while place >= 0 and place not in wanted:
                wanted.add(place)
                place = keys[place][0]
        order = sorted(wanted)  # a path's place comes before those of the paths that go on from it
        at = {place: index for index, place in enumerate(order)} | {-1: -1}
        trie = Trie(*torch.tensor([(at[keys[place][0]], keys[place][1]) for place in order]).T)
        after = grower.follow(self.ghosts, trie)
        return torch.stack([after[0], after[1:].mean(dim=0)])[:, -len(fresh) :]
