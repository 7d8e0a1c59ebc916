"""Grown trees, each apart, in columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from probes.evidence import Tree
from probes.growing.choosing import Nodes


@dataclass(frozen=True)
class TreeColumns:
    """A grown tree, breadth first; to begin with only its root."""

    parents: tuple[int, ...] = (-1,)
    token_ids: tuple[int, ...] = (-1,)
    probabilities: tuple[float, ...] = (1.0,)


def entropy_bits(grown: TreeColumns | Tree) -> float:
    """Shannon entropy of the first token; all that the tree left out counts as one token."""
    first = [p for p, parent in zip(grown.probabilities, grown.parents, strict=True) if parent == 0]
    return sum(-p * math.log2(p) for p in [*first, 1.0 - sum(first)] if p > 0)


def columns_of(found: Sequence[tuple[int, Nodes]]) -> list[TreeColumns]:
    """The trees, apart, each breadth first: a stable sort, since within a depth nodes were found from left to right."""
    levels = [nodes for _, nodes in found]
    depth = torch.cat([torch.full_like(nodes.tree, depth) for depth, nodes in found])
    tree, parent, number, token, probability = (
        torch.cat([getattr(nodes, name) for nodes in levels])
        for name in ("tree", "parent", "number", "token", "probability")
    )
    order = torch.argsort(tree * (int(depth.max()) + 1) + depth, stable=True)
    place = torch.empty_like(order)
    place[number[order]] = torch.arange(len(order))
    sizes = torch.bincount(tree)
    first = sizes.cumsum(0) - sizes
    local = torch.where(parent < 0, -1, place[parent] - first[tree])
    apart = (torch.split(column[order], sizes.tolist()) for column in (local, token, probability))
    return [TreeColumns(*(tuple(column.tolist()) for column in columns)) for columns in zip(*apart, strict=True)]
