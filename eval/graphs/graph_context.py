"""Describes a feature's place in a graph to an explainer: the prompt where it is active, and its strongest links.

Prompts, tokens and labels in a graph are hostile until they are escaped here.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from agent.evidence.digest import escaped
from agent.evidence.shown_examples import TOKEN_CHARS, cut, marked
from eval.graphs.graph import Graph, GraphFeature, Link, Node
from probes.examples import Example

LINKS = 6
"""Most that are told each way, over all of a feature's nodes."""
LABEL_CHARS = 120


class LinkLine(TypedDict):
    weight: float
    at: str
    """The feature's own token there, where it is active at several."""
    other: str
    """The node at the other end, in words."""
    label: str
    """Its label so far; empty where it has none."""


class GraphContext(TypedDict):
    prompt: str
    """Tokens where the feature is active are «marked»."""
    share: float
    """Of the influence of all nodes."""
    incoming: list[LinkLine]
    outgoing: list[LinkLine]


def graph_context(graph: Graph, feature: GraphFeature, labels: Mapping[GraphFeature, str]) -> GraphContext:
    """Returns the context of a feature in the graph; `labels` are those known so far."""
    nodes = graph.features[feature]
    return {
        "prompt": _prompt(graph, nodes),
        "share": graph.influence[feature],
        "incoming": _lines(graph, nodes, graph.incoming, labels),
        "outgoing": _lines(graph, nodes, graph.outgoing, labels),
    }


def _prompt(graph: Graph, nodes: Sequence[Node]) -> str:
    """The prompt around the strongest node, as much of it as of any text that is shown."""
    strength = {n.position: abs(n.activation or 0.0) or 1.0 for n in nodes if n.position in range(len(graph.tokens))}
    if not strength:
        return escaped(graph.prompt, TOKEN_CHARS * 4)
    activations = tuple(strength.get(place, 0.0) for place in range(len(graph.tokens)))
    part = cut(Example(nodes[0].feature.number if nodes[0].feature else 0, "activating", "", graph.tokens, activations))
    return marked(part, [place for place, activation in enumerate(part.activations) if activation])


def _lines(
    graph: Graph, nodes: Sequence[Node], links: Mapping[str, Sequence[Link]], labels: Mapping[GraphFeature, str]
) -> list[LinkLine]:
    found = [(node, link) for node in nodes for link in links.get(node.node_id, ()) if link.other in graph.nodes]
    found.sort(key=lambda pair: -abs(pair[1].weight))
    return [
        {
            "weight": link.weight,
            "at": _token(graph, node) if len(nodes) > 1 else "",
            "other": _words(graph, graph.nodes[link.other]),
            "label": escaped(_label(graph.nodes[link.other], labels), LABEL_CHARS),
        }
        for node, link in found[:LINKS]
    ]


def _words(graph: Graph, node: Node) -> str:
    """Describes a node in words for a language model."""
    if node.feature is not None:
        where = f" at {token}" if (token := _token(graph, node)) else ""
        return f"feature {node.feature.number} of layer {node.feature.layer}{where}"
    match node.kind:
        case "embedding":
            return f"the token {_token(graph, node)}".rstrip()
        case "logit":
            return "an output"
        case "mlp reconstruction error":
            return f"what the transcoder of layer {escaped(node.layer, 8)} leaves out at {_token(graph, node)}"
        case kind:
            return f"a node of type {escaped(kind, 40)}"


def _label(node: Node, labels: Mapping[GraphFeature, str]) -> str:
    known = labels.get(node.feature, "") if node.feature is not None else ""
    return known or (node.clerp if node.kind != "embedding" else "")


def _token(graph: Graph, node: Node) -> str:
    """The token at a node's position, quoted; empty where there is none."""
    if node.position is None or node.position not in range(len(graph.tokens)):
        return ""
    return f'"{escaped(graph.tokens[node.position], TOKEN_CHARS)}"'
