"""The page of a graph run: the graph's nodes by layer and position, with labels and links both ways."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.groups import RunGroup, group_of, layer_of
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, chosen_run
from agent.web.asked import run_of
from agent.web.pages import page
from agent.web.site import site_of
from eval.graphs.graph import Graph, GraphFeature, Link, Node

MOST = 300
"""Nodes of a page."""
_KINDS = {"embedding": "token", "logit": "output", "mlp reconstruction error": "error"}
_LABEL_CHARS = 120


@dataclass(frozen=True)
class LinkView:
    """A link to another node."""

    node_id: str
    name: str
    """The other node's address, or what it is."""
    label: str
    weight: float
    here: bool
    """True if the other node is on the page."""


@dataclass(frozen=True)
class NodeView:
    """A row of the table."""

    node_id: str
    layer: str
    position: int | None
    token: str
    name: str
    url: str | None
    """The page of its feature; None if no run has it."""
    label: str
    status: str
    """Why there is no label; empty if there is one."""
    share: float | None
    activation: float | None
    incoming: Sequence[LinkView]
    outgoing: Sequence[LinkView]


@dataclass(frozen=True)
class GraphView:
    """A graph with the labels of its runs."""

    graph: Graph
    group: RunGroup
    nodes: Sequence[NodeView]
    n_nodes: int
    """Nodes of the layer that is asked for, or all."""
    layers: Mapping[str, int]
    """Nodes by layer."""
    n_labelled: int
    """Features with a label."""
    labelled: float
    """Their share of the influence of all nodes."""


def is_of(graph: Graph | None, run: RunSummary) -> bool:
    """Tells whether the run labelled features of that graph."""
    logged = run.settings.get("graph")
    return graph is not None and isinstance(logged, dict) and logged.get("digest") == graph.digest


def show(request: Request) -> Response:
    """Shows the graph of a run, the most influential nodes of one layer or of all."""
    site, run = site_of(request), run_of(request)
    if site.graph is None or not is_of(site.graph, run):
        raise HTTPException(404, f"Run {run.run_id} is not about the graph that is served; see --graph.")
    layer = request.query_params.get("layer")
    view = _view(site.graph, site.cache(_rows, run.run_id), layer)
    return page(request, "graph.html.j2", run=run, here="overview", view=view, layer=layer)


def _rows(log: RunLog, run_id: int) -> tuple[RunGroup, dict[GraphFeature, LabelRow]]:
    group = group_of(log.read(chosen_run, run_id), log.read(all_runs))
    found = {
        GraphFeature(layer_of(run), row.feature): row for run in group.runs for row in log.read(labels_of, run.run_id)
    }
    return group, found


def _view(graph: Graph, known: tuple[RunGroup, dict[GraphFeature, LabelRow]], layer: str | None) -> GraphView:
    group, rows = known
    layers: dict[str, int] = {}
    for node in sorted(graph.nodes.values(), key=_place):
        layers[node.layer] = layers.get(node.layer, 0) + 1
    wanted = [node for node in graph.nodes.values() if layer is None or node.layer == layer]
    shown = sorted(sorted(wanted, key=lambda node: -_share(graph, node))[:MOST], key=_place)
    here = {node.node_id for node in shown}
    labelled = {feature for feature in graph.features if _label(graph, graph.features[feature][0], rows)}
    return GraphView(
        graph=graph,
        group=group,
        nodes=[_node(graph, node, rows, here) for node in shown],
        n_nodes=len(wanted),
        layers=layers,
        n_labelled=len(labelled),
        labelled=sum(graph.influence[feature] for feature in labelled),
    )


def _place(node: Node) -> tuple[int, int, str]:
    """Sorts the earliest layer first: tokens, layers, outputs."""
    ends = {"embedding": -1, "logit": 10**9}
    layer = int(node.layer) if node.layer.isascii() and node.layer.isdigit() and len(node.layer) < 9 else -1
    return ends.get(node.kind, layer), -1 if node.position is None else node.position, node.node_id


def _share(graph: Graph, node: Node) -> float:
    """Returns the influence of the node's feature; ends of the graph come first."""
    if node.feature is None:
        return 1.0 if node.kind in ("embedding", "logit") else 0.0
    return graph.influence[node.feature]


def _node(graph: Graph, node: Node, rows: Mapping[GraphFeature, LabelRow], here: set[str]) -> NodeView:
    row = rows.get(node.feature) if node.feature else None
    label = _label(graph, node, rows)
    return NodeView(
        node_id=node.node_id,
        layer=node.layer,
        position=node.position,
        token=_token(graph, node),
        name=_name(node),
        url=None if row is None else f"/runs/{row.run_id}/features/{row.feature}",
        label=label,
        status="" if label or node.feature is None else _why(row),
        share=None if node.feature is None else graph.influence[node.feature],
        activation=node.activation,
        incoming=[*_links(graph, graph.incoming.get(node.node_id, ()), rows, here)],
        outgoing=[*_links(graph, graph.outgoing.get(node.node_id, ()), rows, here)],
    )


def _why(row: LabelRow | None) -> str:
    if row is None:
        return "not looked at by these runs"
    return f"{row.status}: {row.reason}" if row.reason else row.status


def _links(
    graph: Graph, links: Sequence[Link], rows: Mapping[GraphFeature, LabelRow], here: set[str]
) -> Iterator[LinkView]:
    for link in links:
        if other := graph.nodes.get(link.other):
            yield LinkView(other.node_id, _name(other), _label(graph, other, rows), link.weight, other.node_id in here)


def _label(graph: Graph, node: Node, rows: Mapping[GraphFeature, LabelRow]) -> str:
    """Returns the runs' label of a feature, else the file's; of another node what the file says, or its token."""
    row = rows.get(node.feature) if node.feature else None
    if row is not None and row.status == "labelled":
        return row.label[:_LABEL_CHARS]
    return (node.clerp.strip() or (_token(graph, node) if node.kind == "embedding" else ""))[:_LABEL_CHARS]


def _name(node: Node) -> str:
    if node.feature is not None:
        return f"{node.feature.layer}:{node.feature.number}"
    return _KINDS.get(node.kind, node.kind[:40])


def _token(graph: Graph, node: Node) -> str:
    at = node.position
    return graph.tokens[at] if at is not None and 0 <= at < len(graph.tokens) else ""


routes = [Route("/runs/{run_id:row}/graph", show, name="graph")]
