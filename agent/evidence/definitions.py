"""A definition tree as texts: paths joined up to the closing quote.

Texts are raw, as the tokenizer gave them.
Trees have thousands of nodes: texts are joined for those alone that may be shown.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from probes.evidence import Contrast, Tree

CLOSING = '"'
CANDIDATES = 200
"""The most probable endings are looked at for equal text; what lies below them is never shown."""


@dataclass(frozen=True)
class Ending:
    """A definition: a path up to its closing quote, or to where the tree was cut off."""

    text: str
    probability: float
    closed: bool


@dataclass(frozen=True)
class Opening:
    """The beginning of some definitions, with the probability that no longer opening accounts for."""

    text: str
    share: float
    closed: bool
    null: float | None = None
    """Its share under the null distribution, if it was `compared`."""


@dataclass(frozen=True)
class DistinctBeginning:
    """A beginning that this ghost makes more probable than the null distribution does."""

    text: str
    probability: float
    lift: float
    """Lift in nats."""


def defining_part(tree: Tree) -> Tree:
    """Returns `tree` without the nodes below a token that holds the closing quote."""
    closing = _closing_ids(tree)
    kept = {0: 0}
    parents = [-1]
    for node in range(1, len(tree.parents)):
        above = tree.parents[node]
        if above in kept and tree.token_ids[above] not in closing:
            kept[node] = len(parents)
            parents.append(kept[above])
    return replace(
        tree,
        parents=tuple(parents),
        token_ids=tuple(tree.token_ids[node] for node in kept),
        probabilities=tuple(tree.probabilities[node] for node in kept),
        contrast=_of_nodes(tree.contrast, list(kept)) if tree.contrast else None,
    )


def distinct(part: Tree, most: int) -> list[DistinctBeginning]:
    """Returns the beginnings most due to the ghost: of largest probability times lift, none within another."""
    columns = enumerate(zip(part.probabilities, part.lifts, strict=True))
    own = [(p * lift, node) for node, (p, lift) in columns if node and lift is not None and lift > 0]
    found: dict[str, DistinctBeginning] = {}
    for gain, node in sorted(own, key=lambda item: -item[0]):
        text = _text(part, node)
        if len(found) == most:
            break
        if text and not any(text.startswith(other) or other.startswith(text) for other in found):
            found[text] = DistinctBeginning(text, part.probabilities[node], gain / part.probabilities[node])
    return [*found.values()]


def endings(part: Tree) -> list[Ending]:
    """Returns the most probable definitions in a `defining_part`, in falling order; equal texts count as one."""
    inner = set(part.parents)
    leaves = (node for node in range(1, len(part.parents)) if node not in inner)
    leading = heapq.nlargest(CANDIDATES, leaves, key=part.probabilities.__getitem__)
    amounts = {node: part.probabilities[node] for node in leading}
    return [Ending(text, probability, closed) for (text, closed), probability in _by_text(part, amounts)]


def openings(part: Tree, floor: float) -> list[Opening]:
    """Divides the probability among the nodes of at least `floor`: each keeps what its children do not take.

    The shares sum to 1, largest first. What the tree's cutoff and top-k lost stays with the last node that is known.
    """
    nodes = [node for node, probability in enumerate(part.probabilities) if probability >= floor]
    own = _own(part, nodes, part.probabilities)
    return [Opening(text, share, closed) for (text, closed), share in _by_text(part, own)]


def compared(part: Tree) -> list[Opening]:
    """Divides it among the nodes that were compared with the null distribution, with the null's shares.

    Both columns sum to 1. Nothing for a tree without contrast.
    """
    if part.contrast is None:
        return []
    nulls = {node: null for node, null in enumerate(part.contrast.null) if null is not None}
    null = dict(_by_text(part, _own(part, list(nulls), nulls)))
    own = _by_text(part, _own(part, list(nulls), part.probabilities))
    return [Opening(text, share, closed, null[text, closed]) for (text, closed), share in own]


def _own(part: Tree, nodes: Sequence[int], column: Mapping[int, float] | Sequence[float]) -> dict[int, float]:
    """Returns each node's probability less that of the nodes below it, parents first."""
    own: dict[int, float] = {}
    for node in nodes:
        own[node] = column[node]
        if node:
            own[part.parents[node]] -= column[node]
    return {node: max(rest, 0.0) for node, rest in own.items()}


def _of_nodes(contrast: Contrast, nodes: Sequence[int]) -> Contrast:
    null, centroid = (tuple(column[node] for node in nodes) for column in (contrast.null, contrast.centroid))
    return replace(contrast, null=null, centroid=centroid)


def _by_text(part: Tree, amounts: Mapping[int, float]) -> list[tuple[tuple[str, bool], float]]:
    """Sums the `amounts` of nodes by text, closed apart from open, largest first."""
    closing = _closing_ids(part)
    total: dict[tuple[str, bool], float] = {}
    for node, amount in amounts.items():
        key = (_text(part, node), part.token_ids[node] in closing)
        total[key] = total.get(key, 0.0) + amount
    return sorted(total.items(), key=lambda item: -item[1])


def _text(part: Tree, node: int) -> str:
    """Returns the text from the root to `node`, up to the closing quote."""
    tokens: list[str] = []
    while node > 0:
        tokens.append(part.texts[part.token_ids[node]])
        node = part.parents[node]
    return "".join(reversed(tokens)).partition(CLOSING)[0].strip()


def _closing_ids(tree: Tree) -> frozenset[int]:
    return frozenset(token_id for token_id, text in tree.texts.items() if CLOSING in text)
