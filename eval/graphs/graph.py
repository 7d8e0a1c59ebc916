"""An attribution graph: its prompt, its nodes, and of their links the strongest. Read once, in bounded memory.

As circuit-tracer writes it (safety-research/circuit-tracer, circuit_tracer/frontend/graph_models.py, schema 1) and
Neuronpedia keeps it. A feature's node is called LAYER_FEATURE_POSITION, whether its transcoder is of one layer or many.
"""

import hashlib
import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from eval.errors import GraphError
from eval.graphs.influence import shares
from eval.graphs.scanning import FileItem, Scanner
from probes.doors import door

LINKS = 5
"""Strongest links that are kept of a node, each way."""
SCHEMA = 1
FEATURE_TYPE = "cross layer transcoder"
OTHER_TYPES = ("embedding", "mlp reconstruction error", "logit")
_NODE_ID = re.compile(r"(\d{1,6})_(\d{1,12})_(\d{1,9})", re.ASCII)
_GZIP = b"\x1f\x8b"


class GraphFeature(NamedTuple):
    """A feature by the layer that it reads at."""

    layer: int
    number: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node; `feature` is None where it is of another kind."""

    node_id: str
    kind: str
    feature: GraphFeature | None
    layer: str
    position: int | None
    influence: float | None
    activation: float | None
    clerp: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link's weight: how strongly `other`, by its id, acts on a node, or a node on it."""

    weight: float
    other: str


@dataclass(frozen=True)
class Graph:
    """An attribution graph: its features, links, influence and prompt."""

    path: Path
    prompt: str
    tokens: tuple[str, ...]
    scan: str
    schema: object
    nodes: Mapping[str, Node]
    """By their ids; of several with one id, the first."""
    features: Mapping[GraphFeature, tuple[Node, ...]]
    """The nodes of each feature, at all positions; the most influential feature first."""
    influence: Mapping[GraphFeature, float]
    """Each feature's share of all nodes' influence."""
    incoming: Mapping[str, tuple[Link, ...]]
    outgoing: Mapping[str, tuple[Link, ...]]
    n_links: int
    left: Mapping[str, int]
    """Nodes that are kept as they were, by why: `2 of an unknown type`."""
    notes: tuple[str, ...]
    digest: str
    """Of all that decides what is asked, labels apart."""


@dataclass
class _Found:
    """The parts of a graph read so far."""

    metadata: dict[str, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    incoming: dict[str, list[tuple[float, float, str]]] = field(default_factory=lambda: defaultdict(list))
    outgoing: dict[str, list[tuple[float, float, str]]] = field(default_factory=lambda: defaultdict(list))
    strength: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """The absolute weights of what goes out of a node, summed."""
    n_links: int = 0
    has_nodes: bool = False


def read_graph(path: Path) -> Graph:
    """The graph in a file. Raises GraphError."""
    found = _Found()
    for item in scanned(path):
        match item.member:
            case "metadata" if isinstance(item.value, dict):
                found.metadata = item.value
            case "nodes":
                found.has_nodes = True
                _add_node(found, item.value)
            case "links":
                _add_link(found, item.value)
    if not found.has_nodes:
        raise GraphError(f"The graph {path} cannot be used: it has no nodes; give a graph JSON of circuit-tracer.")
    return _graph(path, found)


def scanned(path: Path) -> Iterator[FileItem]:
    """The members of the file, nodes and links one by one. Raises GraphError, its sentence about the file."""
    if not path.is_file():
        raise GraphError(f"There is no graph {path}; check the path.")
    with door(GraphError, f"The graph {path} cannot be read: {{cause}}; check the path."), path.open("rb") as file:
        if file.peek(2).startswith(_GZIP):
            raise GraphError(f"The graph {path} is packed with gzip; unpack it first.")
        try:
            yield from Scanner(file).items("nodes", "links")
        except GraphError as error:
            raise GraphError(
                f"The graph {path} cannot be read: {error}; give a graph JSON of circuit-tracer."
            ) from None


def node_of(value: Any) -> Node | None:
    """The node that a value of the file's list is; None where it is none."""
    if not isinstance(value, dict) or not isinstance(value.get("node_id"), str):
        return None
    kind, layer = value.get("feature_type"), value.get("layer")
    return Node(
        node_id=value["node_id"],
        kind=kind if isinstance(kind, str) else "",
        feature=_feature(value) if kind == FEATURE_TYPE else None,
        layer=str(layer) if isinstance(layer, str | int) else "",
        position=_whole(value.get("ctx_idx")),
        influence=_number(value.get("influence")),
        activation=_number(value.get("activation")),
        clerp="" if value.get("clerp") is None else str(value["clerp"]),
    )


def _feature(value: Mapping[str, Any]) -> GraphFeature | None:
    """By the node's id; None where its other fields say another feature."""
    match = _NODE_ID.fullmatch(value["node_id"])
    if match is None:
        return None
    layer, index, position = (int(part) for part in match.groups())
    agrees = str(value.get("layer", layer)) == str(layer) and value.get("ctx_idx", position) == position
    return GraphFeature(layer, index) if agrees and _means(value.get("feature"), layer, index) else None


def _means(number: object, layer: int, index: int) -> bool:
    """Tells whether `feature` can mean this one: Cantor's pair of layer and index; in older files a power of ten times
    the layer, plus the index; in others the index itself. If there is none, the id decides alone.
    """
    if number is None:
        return True
    if not isinstance(number, int):
        return False
    pair = (layer + index) * (layer + index + 1) // 2 + index
    return number in (pair, index) or (layer > 0 and _is_power_of_ten(*divmod(number - index, layer)))


def _is_power_of_ten(number: int, rest: int) -> bool:
    return not rest and number in (10**digits for digits in range(1, 16))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def _add_node(found: _Found, value: Any) -> None:
    node = node_of(value)
    if node is None:
        found.left["without a node_id"] += 1
        return
    if node.kind == FEATURE_TYPE and node.feature is None:
        found.left["whose id, layer, position and feature number do not agree"] += 1
    elif node.kind not in (FEATURE_TYPE, *OTHER_TYPES):
        found.left["of an unknown type"] += 1
    found.nodes.append(node)


def _add_link(found: _Found, value: Any) -> None:
    found.n_links += 1
    if not isinstance(value, dict):
        return
    source, target, weight = value.get("source"), value.get("target"), _number(value.get("weight"))
    if isinstance(source, str) and isinstance(target, str) and weight is not None:
        found.strength[source] += abs(weight)
        for links, other in ((found.incoming[target], source), (found.outgoing[source], target)):
            keep = heapq.heappush if len(links) < LINKS else heapq.heappushpop
            keep(links, (abs(weight), weight, other))


def _graph(path: Path, found: _Found) -> Graph:
    nodes: dict[str, Node] = {}
    for node in found.nodes:
        nodes.setdefault(node.node_id, node)
    share = _influence(found, nodes)
    by_feature: dict[GraphFeature, list[Node]] = defaultdict(list)
    for node in nodes.values():
        if node.feature is not None:
            by_feature[node.feature].append(node)
    influence = {feature: sum(share.get(n.node_id, 0.0) for n in some) for feature, some in by_feature.items()}
    ranked = sorted(by_feature, key=lambda feature: (-influence[feature], feature))
    tokens = found.metadata.get("prompt_tokens")
    tokens = tuple(map(str, tokens)) if isinstance(tokens, list) else ()
    incoming, outgoing = _links(found.incoming), _links(found.outgoing)
    prompt, scan = (str(found.metadata.get(name) or "") for name in ("prompt", "scan"))
    return Graph(
        path=path,
        prompt=prompt or "".join(tokens),
        tokens=tokens,
        scan=scan,
        schema=found.metadata.get("schema_version"),
        nodes=nodes,
        features={feature: tuple(by_feature[feature]) for feature in ranked},
        influence=influence,
        incoming=incoming,
        outgoing=outgoing,
        n_links=found.n_links,
        left=found.left,
        notes=tuple(_notes(found, nodes)),
        digest=_digest(tokens, nodes, incoming, outgoing),
    )


def _influence(found: _Found, nodes: Mapping[str, Node]) -> dict[str, float]:
    given = {name: node.influence for name, node in nodes.items() if node.influence is not None}
    if given:
        return shares(given)
    total = sum(found.strength.values())
    return {name: strength / total for name, strength in found.strength.items()} if total else {}


def _links(kept: Mapping[str, list[tuple[float, float, str]]]) -> dict[str, tuple[Link, ...]]:
    return {
        name: tuple(Link(weight, other) for _, weight, other in sorted(links, reverse=True))
        for name, links in kept.items()
    }


def _notes(found: _Found, nodes: Mapping[str, Node]) -> Iterator[str]:
    schema = found.metadata.get("schema_version")
    if schema not in (None, SCHEMA):
        yield f"its schema is {schema!r}, and {SCHEMA} is known: what is not known is kept as it was"
    if more := len(found.nodes) - len(nodes):
        yield f"{more:,} nodes have the id of another, and get its label"
    if not any(node.influence is not None for node in nodes.values()):
        yield "its nodes have no influence, so those with the strongest links count as most influential"


def _digest(
    tokens: tuple[str, ...],
    nodes: Mapping[str, Node],
    incoming: Mapping[str, tuple[Link, ...]],
    outgoing: Mapping[str, tuple[Link, ...]],
) -> str:
    digest = hashlib.sha256(repr(tokens).encode("utf-8", "surrogatepass"))
    for name, node in nodes.items():
        said = (name, node.kind, node.influence, node.activation, incoming.get(name), outgoing.get(name))
        digest.update(repr(said).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
