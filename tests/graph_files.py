"""Attribution graphs written as circuit-tracer writes them, node by node."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TOKENS = ("<bos>", "the", " carrot", " grew", " in", " the", " garden")


def pair(layer: int, index: int) -> int:
    """Cantor's pairing."""
    return (layer + index) * (layer + index + 1) // 2 + index


def feature_node(
    layer: int, index: int, position: int, influence: float | None = None, /, **more: Any
) -> dict[str, Any]:
    """A feature's node; `more` replaces or adds members."""
    return {
        "node_id": f"{layer}_{index}_{position}",
        "feature": pair(layer, index),
        "layer": str(layer),
        "ctx_idx": position,
        "feature_type": "cross layer transcoder",
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"{layer}_{index}-0",
        "clerp": "",
        "influence": influence,
        "activation": 3.25,
    } | more


def other_node(kind: str, node_id: str, position: int, **more: Any) -> dict[str, Any]:
    """A node of another type."""
    layer = node_id.partition("_")[0]
    return {"node_id": node_id, "layer": layer, "ctx_idx": position, "feature_type": kind, "clerp": "", **more}


def link(source: Mapping[str, Any], target: Mapping[str, Any], weight: float) -> dict[str, Any]:
    """From node to node."""
    return {"source": source["node_id"], "target": target["node_id"], "weight": weight}


def document(
    nodes: Sequence[Any], links: Sequence[Any] = (), tokens: Sequence[str] = TOKENS, **metadata: Any
) -> dict[str, Any]:
    """A whole graph."""
    about = {"slug": "carrot", "scan": "tiny", "transcoder_list": [], "prompt": "".join(tokens), "schema_version": 1}
    return {
        "metadata": {**about, "prompt_tokens": [*tokens], "node_threshold": 0.8, **metadata},
        "qParams": {"pinnedIds": [], "supernodes": [["veg", "0_1_2"]], "linkType": "both", "clickedId": ""},
        "nodes": [*nodes],
        "links": [*links],
    }


def write(path: Path, graph: Mapping[str, Any], **how: Any) -> Path:
    """The graph as a file."""
    path.write_text(json.dumps(graph, **how), encoding="utf-8")
    return path
