"""A definition tree as it is drawn: trimmed to what matters, chains of tokens joined into phrases.

Terminal, SVG and DOT all draw this tree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from probes.evidence import Rank, Tree

OMITTED = frozenset({"'.", ".'", "()", "''"})
"""Tokens that are left out with what hangs below them, as in the original notebook's picture (M. Watkins)."""
_CHAIN_SHARE = 0.5
"""A node and its only drawn child are one phrase when the child has at least this share of the node's probability."""


@dataclass(frozen=True)
class Trim:
    """The limits of a drawing: the `most` nodes of first rank, none below the probability `least`."""

    most: int | None = None
    least: float = 0.0
    rank: Rank = "probability"
    """The order of nodes and of siblings."""


@dataclass(frozen=True, eq=False)
class Branch:
    """One or more tokens of a tree drawn as one phrase, with the cumulative probability of its last token."""

    text: str
    probability: float
    children: tuple["Branch", ...] = ()
    lift: float | None = None
    """The last known lift: nats above random directions."""


@dataclass(frozen=True)
class TrimmedTree:
    """A tree ready for drawing, with its number of nodes before and after."""

    root: Branch
    n_drawn: int
    n_nodes: int
    """Number of nodes of the tree and of the drawing, both without the root."""

    def walk(self) -> Iterator[tuple[Branch, int]]:
        """Yields every branch below the root with its depth (1 for the root's children), parents first."""
        stack = [(child, 1) for child in reversed(self.root.children)]
        while stack:
            branch, depth = stack.pop()
            yield branch, depth
            stack.extend((child, depth + 1) for child in reversed(branch.children))


def drawn(tree: Tree, trim: Trim) -> TrimmedTree:
    """Returns the part of `tree` that `trim` keeps. No recursion: trees may be a thousand tokens deep."""
    kept = _kept(tree, trim)
    children: dict[int, list[Branch]] = {}
    lifts = tree.lifts
    for node in reversed(kept):
        branch = _branch(_text(tree, node), tree.probabilities[node], lifts[node], children.pop(node, []))
        children.setdefault(tree.parents[node], []).append(branch)
    root = Branch("", 1.0, tuple(reversed(children.get(0, []))))
    return TrimmedTree(root, len(kept), len(tree.parents) - 1)


def _kept(tree: Tree, trim: Trim) -> list[int]:
    """Returns the nodes to draw in falling order, so that parents come first and are always kept."""
    alive = {0}
    for node in range(1, len(tree.parents)):
        omitted = tree.probabilities[node] < trim.least or _text(tree, node) in OMITTED
        if tree.parents[node] in alive and not omitted:
            alive.add(node)
    # A child ranks no higher than its parent and comes after it, so the head of this order has no orphans.
    ranks = tree.ranks(trim.rank)
    return sorted(alive - {0}, key=lambda node: (-ranks[node], node))[: trim.most]


def _branch(text: str, probability: float, lift: float | None, reversed_children: list[Branch]) -> Branch:
    children = tuple(reversed(reversed_children))
    if len(children) == 1 and children[0].probability >= _CHAIN_SHARE * probability:
        last = children[0]
        return replace(last, text=text + last.text, lift=lift if last.lift is None else last.lift)
    return Branch(text, probability, children, lift)


def _text(tree: Tree, node: int) -> str:
    return tree.texts[tree.token_ids[node]]
