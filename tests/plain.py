"""The plain reference of a definition tree: recursive, one uncached forward of one whole sequence per node.

Written to be obviously right, from the formulas alone; shares no code with the engine but the prompt's ids.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from probes.settings import TreeSettings
from probes.subject import Subject


@dataclass
class Node:
    """A node, with the distribution its children were chosen from, so that close calls can be told."""

    probability: float
    next_probabilities: Tensor | None = None
    children: dict[int, "Node"] = field(default_factory=dict)


def plain_tree(
    subject: Subject,
    vector: Tensor,
    ids: tuple[int, ...],
    ghost_position: int,
    settings: TreeSettings,
) -> Node:
    """The tree of `vector`, the ghost standing at `ghost_position` of the prompt `ids`."""

    def grow(node: Node, tail: tuple[int, ...]) -> None:
        if len(tail) == settings.max_depth:
            return
        node.next_probabilities = _next_probabilities(subject, vector, [*ids, *tail], ghost_position)
        for share, token in zip(
            *(column.tolist() for column in node.next_probabilities.topk(settings.top_k)), strict=True
        ):
            if node.probability * share >= settings.cutoff:
                child = node.children[token] = Node(node.probability * share)
                grow(child, (*tail, token))

    root = Node(1.0)
    with torch.no_grad():
        grow(root, ())
    return root


def size(node: Node) -> int:
    """Number of nodes, the root included."""
    return 1 + sum(size(child) for child in node.children.values())


def _next_probabilities(subject: Subject, vector: Tensor, ids: list[int], ghost_position: int) -> Tensor:
    """The plain model on embeddings that stand where the tokens' would, the ghost's among them; [vocab], float32."""
    embed = subject.model.get_input_embeddings()
    tokens = torch.tensor([ids], device=subject.model.device)
    embeds = embed(tokens)
    # how the module scales a row, seen on the row itself that is largest
    row = int(embed.weight.norm(dim=-1).argmax())
    scaled, stored = embed(torch.tensor([row], device=embeds.device))[0], embed.weight[row]
    at = int(stored.abs().argmax())
    embeds[0, ghost_position] = (vector * (scaled[at].float() / stored[at].float())).to(embeds.dtype)
    # Gemma 3n and 4 look the ids up a second time: there the ghost's place has the placeholder's row
    text = subject.model.get_decoder()
    second = {"per_layer_inputs": text.get_per_layer_inputs(tokens)} if subject.card.per_layer is not None else {}
    logits: Tensor = subject.model(inputs_embeds=embeds, use_cache=False, **second).logits[0, -1].float()
    logits[subject.card.placeholder_id] = -torch.inf
    return logits.softmax(dim=-1)
