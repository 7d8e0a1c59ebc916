"""Supernodes proposed for a graph: features that are labelled alike and stand at one place, or act on one another.

In a file they are the field `qParams.supernodes`: lists of a name and the ids of nodes. circuit-tracer's front end
shows those whose nodes are pinned (`qParams.pinnedIds`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from agent.evidence.heads import is_function_word
from eval.graphs.graph import Graph, GraphFeature

ALIKE = 0.5
"""Share of two labels' words that are in both, from which they are taken to mean the same."""
MOST_WITH_A_WORD = 400
"""Nodes whose labels share a word; of more, the word says too little to compare all of them by it."""
_WORD = re.compile(r"[^\W_]+")
_OF_LABELS = frozenset(("token", "tokens", "used", "word", "words"))
"""Words that labels have for no reason of their meaning."""


@dataclass(frozen=True)
class Supernode:
    """A proposed group of nodes."""

    name: str
    """The label of the most influential one."""
    node_ids: tuple[str, ...]


def propose(graph: Graph, texts: Mapping[GraphFeature, Sequence[str]]) -> list[Supernode]:
    """Proposes groups of at least two nodes, the most influential group first.

    `texts` are each feature's label, then its senses. Two nodes are joined where a text of the one and a text of the
    other share at least half of their words, and they stand at the same position, or one acts on the other, or both act
    on a third node; groups are what is joined.
    """
    nodes = {
        node.node_id: feature for feature in graph.features if feature in texts for node in graph.features[feature]
    }
    words = {feature: [wanted for text in some if (wanted := _words(text))] for feature, some in texts.items()}
    parent = {node_id: node_id for node_id in nodes}
    for one, other in _candidates(nodes, words):
        if _are_near(graph, one, other) and _are_alike(words[nodes[one]], words[nodes[other]]):
            parent[_root(parent, one)] = _root(parent, other)
    groups: dict[str, list[str]] = defaultdict(list)
    for node_id in nodes:
        groups[_root(parent, node_id)].append(node_id)
    found = [members for members in groups.values() if len(members) > 1]
    found.sort(key=lambda members: -sum(graph.influence[feature] for feature in {nodes[m] for m in members}))
    return [Supernode(_name(graph, {nodes[m] for m in members}, texts), tuple(members)) for members in found]


def _words(text: str) -> frozenset[str]:
    """Returns the words of a label that name something, singular and plural alike."""
    words = (word for word in map(str.lower, _WORD.findall(text)) if not is_function_word(word))
    return frozenset(word.rstrip("s") or word for word in words if word not in _OF_LABELS)


def _candidates(
    nodes: Mapping[str, GraphFeature], words: Mapping[GraphFeature, Sequence[frozenset[str]]]
) -> Iterator[tuple[str, str]]:
    """Yields each pair of nodes whose labels share a word, once."""
    having: dict[str, list[str]] = defaultdict(list)
    for node_id, feature in nodes.items():
        for word in frozenset().union(*words[feature]):
            having[word].append(node_id)
    seen: set[tuple[str, str]] = set()
    for members in having.values():
        for pair in combinations(members, 2) if len(members) <= MOST_WITH_A_WORD else ():
            if pair not in seen:
                seen.add(pair)
                yield pair


def _are_alike(one: Iterable[frozenset[str]], other: Sequence[frozenset[str]]) -> bool:
    return any(len(a & b) >= ALIKE * len(a | b) for a in one for b in other)


def _are_near(graph: Graph, one: str, other: str) -> bool:
    position, there = graph.nodes[one].position, graph.nodes[other].position
    if position is not None and position == there:
        return True
    mine = {link.other for link in graph.outgoing.get(one, ())}
    theirs = {link.other for link in graph.outgoing.get(other, ())}
    return one in theirs or other in mine or bool(mine & theirs)


def _root(parent: dict[str, str], node_id: str) -> str:
    while parent[node_id] != node_id:
        parent[node_id] = node_id = parent[parent[node_id]]
    return node_id


def _name(graph: Graph, features: Iterable[GraphFeature], texts: Mapping[GraphFeature, Sequence[str]]) -> str:
    """Returns the label that the group's features have most often; of several, the most influential one's."""
    ranked = sorted(features, key=lambda feature: -graph.influence[feature])
    return Counter(texts[feature][0] for feature in ranked).most_common(1)[0][0]
