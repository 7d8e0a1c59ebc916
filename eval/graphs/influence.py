"""Nodes' shares of a graph's influence, out of the numbers that its file has."""

from collections.abc import Mapping
from itertools import pairwise

_SLACK = 1e-6
"""Of sums in single precision."""


def shares(values: Mapping[str, float]) -> dict[str, float]:
    """Each node's share of the influence of all.

    circuit-tracer ranks nodes by falling influence and writes how much of all influence a node and those before it have
    together: the lowest number is the most influential node's. Pruned nodes leave gaps, which are not given to the node
    after them: it has no larger share than the one before. Numbers that cannot be such sums are taken for amounts.
    """
    ranked = sorted(values, key=values.__getitem__)
    if not ranked:
        return {}
    if not _are_sums([values[name] for name in ranked]):
        total = sum(map(abs, values.values()))
        return {name: abs(value) / total if total else 0.0 for name, value in values.items()}
    found = {ranked[0]: values[ranked[0]]}
    for before, name in pairwise(ranked):
        found[name] = min(values[name] - values[before], found[before])
    return found


def _are_sums(ascending: list[float]) -> bool:
    """Tells whether they lie between 0 and 1, and the first, the largest, is no smaller than the mean of all."""
    low, high = ascending[0], ascending[-1]
    return low >= 0 and high <= 1 + _SLACK and low >= high / len(ascending) - _SLACK
