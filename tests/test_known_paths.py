"""Paths after a null's ghosts: the same whatever was asked before, and each followed once."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probes.growing.choosing import Trie
from probes.null import known_paths
from probes.null.known_paths import KnownPaths, PathNodes

GHOSTS = torch.tensor([[2.0], [3.0], [5.0]])


class PlainGrower:
    """In place of a model: after a ghost g, a token t is as probable as 1 / (g + t)."""

    def __init__(self) -> None:
        self.followed: list[int] = []
        self.fails = False

    def follow(self, ghosts: torch.Tensor, trie: Trie) -> torch.Tensor:
        if self.fails:
            raise MemoryError
        self.followed.append(len(trie))
        found = torch.ones(len(ghosts), len(trie), dtype=torch.float64)
        for node in range(1, len(trie)):
            above = int(trie.parents[node])
            assert above < node
            found[:, node] = found[:, above] / (ghosts[:, 0].double() + int(trie.token_ids[node]))
        return found


def plain(paths: Sequence[Sequence[int]]) -> list[list[float]]:
    columns = []
    for path in paths:
        products = [1.0, 1.0, 1.0]
        for token in path:
            products = [product / (ghost + token) for product, ghost in zip(products, (2, 3, 5), strict=True)]
        columns.append([products[0], (products[1] + products[2]) / 2])
    return [list(column) for column in zip(*columns, strict=True)]


def nodes_of(ends: Sequence[Sequence[int]]) -> tuple[PathNodes, list[tuple[int, ...]]]:
    """A tree of the paths and of all that lead to them, breadth first."""
    paths = sorted({tuple(end[:n]) for end in ends for n in range(len(end) + 1)} | {()}, key=lambda p: (len(p), p))
    places = {path: place for place, path in enumerate(paths)}
    parents = torch.tensor([places[path[:-1]] if path else -1 for path in paths])
    return PathNodes(parents, torch.tensor([path[-1] if path else -1 for path in paths])), paths


TREES = st.lists(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=5), min_size=1, max_size=4)


@given(st.lists(TREES, min_size=1, max_size=4), st.sampled_from([3, 10, 1000]))
def test_what_was_asked_before_changes_nothing(calls: list[list[list[list[int]]]], most: int) -> None:
    known, grower = KnownPaths(GHOSTS), PlainGrower()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_paths, "MAX_PATHS", most)
        for trees in calls:
            made = [nodes_of(ends) for ends in trees]
            found = known.probabilities(grower, [nodes for nodes, _ in made])  # type: ignore[arg-type]
            for columns, (_, paths) in zip(found, made, strict=True):
                for column, expected in zip(columns.tolist(), plain(paths), strict=True):
                    assert column == pytest.approx(expected, rel=1e-12)


def test_a_known_path_is_not_followed_again() -> None:
    known, grower = KnownPaths(GHOSTS), PlainGrower()
    first, second = nodes_of([[1, 2, 3], [1, 4]])[0], nodes_of([[1, 2, 3], [1, 4, 5]])[0]
    known.probabilities(grower, [first, first])  # type: ignore[arg-type]
    known.probabilities(grower, [first])  # type: ignore[arg-type]
    assert grower.followed == [5]
    known.probabilities(grower, [first, second])  # type: ignore[arg-type]
    assert grower.followed == [5, 4]  # the new path alone, from the root on


def test_nothing_is_half_known_after_a_failure() -> None:
    known, grower = KnownPaths(GHOSTS), PlainGrower()
    nodes, paths = nodes_of([[1, 2], [3]])
    grower.fails = True
    with pytest.raises(MemoryError):
        known.probabilities(grower, [nodes])  # type: ignore[arg-type]
    grower.fails = False
    [found] = known.probabilities(grower, [nodes])  # type: ignore[arg-type]
    assert found.tolist() == [pytest.approx(column) for column in plain(paths)]
