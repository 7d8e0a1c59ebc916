"""Chooses the children of a tree's nodes from the logits after them: the likeliest ones, or given ones.

Two peers behind one protocol. Reading happens where the logits are, keeping on the CPU.
"""

from dataclasses import dataclass, fields
from typing import Protocol, Self

import torch
from jaxtyping import Bool, Float, Float64, Int, Shaped
from torch import Tensor

from probes.growing.transfer import sent


@dataclass(frozen=True)
class Nodes:
    """Some nodes of one depth, of any number of trees, in columns. On the CPU, as all bookkeeping is."""

    tree: Int[Tensor, " n"]
    number: Int[Tensor, " n"]
    """Among all nodes of the batch, in the order they were found."""
    parent: Int[Tensor, " n"]
    """The parent's number."""
    token: Int[Tensor, " n"]
    probability: Float64[Tensor, " n"]
    """Cumulative from the root."""
    mark: Int[Tensor, " n"]
    """What a choice needs to know of a node."""

    def __len__(self) -> int:
        return len(self.tree)

    def at(self, where: Tensor | slice) -> Self:
        """Returns the entries at the places `where`."""
        return type(self)(*(getattr(self, field.name)[where] for field in fields(self)))


@dataclass(frozen=True)
class Children:
    """Children, by their parents' places among the nodes that were asked about."""

    place: Int[Tensor, " n"]
    token: Int[Tensor, " n"]
    probability: Float64[Tensor, " n"]
    mark: Int[Tensor, " n"]
    open: Bool[Tensor, " n"]
    """Whether they may have children themselves."""


class ChildChoice(Protocol):
    """A rule by which children are chosen."""

    def read(self, logits: Float[Tensor, "n vocab"], marks: Int[Tensor, " n"]) -> tuple[Tensor, ...]:
        """Reads from these logits what the rule needs, in columns that can be joined."""
        ...

    def keep(self, nodes: Nodes, depth: int, read: tuple[Tensor, ...]) -> Children:
        """The children of `nodes`, which are `depth` tokens deep, in their order."""
        ...


@dataclass(frozen=True)
class LikeliestChildren:
    """The top k tokens, as far as their cumulative probability reaches the cutoff."""

    cutoff: float
    top_k: int
    max_depth: int

    def read(self, logits: Float[Tensor, "n vocab"], marks: Int[Tensor, " n"]) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Tokens and their probabilities, each row in falling order."""
        tokens = top_ids(logits, min(self.top_k, logits.shape[1]))
        return tokens, softmax(logits).gather(1, tokens)

    def keep(self, nodes: Nodes, depth: int, read: tuple[Tensor, ...]) -> Children:
        """Tells for each child whether it reaches the cutoff."""
        tokens, share = read
        probability = nodes.probability[:, None] * share.double()
        place, rank = (probability >= self.cutoff).nonzero(as_tuple=True)
        still_open = torch.full_like(place, depth + 1 < self.max_depth, dtype=torch.bool)
        return Children(place, tokens[place, rank], probability[place, rank], torch.zeros_like(place), still_open)


@dataclass(frozen=True)
class Trie:
    """Token paths that trees share, each path once: node 0 is the root, parents before children."""

    parents: Int[Tensor, " n_nodes"]
    token_ids: Int[Tensor, " n_nodes"]

    def __len__(self) -> int:
        return len(self.parents)


class TrieChildren:
    """The children that a trie has; a node's mark is its place there."""

    def __init__(self, trie: Trie) -> None:
        below = torch.arange(1, len(trie))
        self._order = below[torch.argsort(trie.parents[1:], stable=True)]
        self._count = torch.bincount(trie.parents[1:], minlength=len(trie))
        self._first = self._count.cumsum(0) - self._count
        self._token = trie.token_ids

    def read(self, logits: Float[Tensor, "n vocab"], marks: Int[Tensor, " n"]) -> tuple[Tensor, ...]:
        """The children's probabilities, after the first's the second node's and so on."""
        place, kids = self._below(marks)
        at = sent(place, logits.device), sent(self._token[kids], logits.device)
        share = softmax(logits)[at].float()
        return (share.clamp(min=torch.finfo(torch.float32).tiny),)  # its logarithm is wanted

    def keep(self, nodes: Nodes, depth: int, read: tuple[Tensor, ...]) -> Children:  # noqa: ARG002
        """All of them."""
        place, kids = self._below(nodes.mark)
        probability = nodes.probability[place] * read[0].double()
        return Children(place, self._token[kids], probability, kids, self._count[kids] > 0)

    def _below(self, marks: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """For every child of `marks`: which of them it belongs to, and its own place in the trie."""
        count = self._count[marks]
        place = torch.repeat_interleave(torch.arange(len(marks)), count)
        within = torch.arange(len(place)) - (count.cumsum(0) - count)[place]
        return place, self._order[self._first[marks][place] + within]


def softmax(logits: Float[Tensor, "n vocab"]) -> Float[Tensor, "n vocab"]:
    """Probabilities in the logits' own precision, which is all they have, but for float16: its range is too small."""
    return logits.softmax(dim=-1, dtype=torch.float32 if logits.dtype == torch.float16 else None)


def top_ids(logits: Float[Tensor, "n vocab"], k: int) -> Int[Tensor, "n k"]:
    """Returns the places of the k largest of each row, the largest first.

    They lie in the k blocks with the largest maxima, so only those are searched: half the time of a search of the row.
    """
    n, vocab = logits.shape
    size = 64 if logits.device.type == "cpu" else 128
    in_blocks = vocab // size * size
    if in_blocks < 4 * k * size:
        return logits.topk(k, dim=-1).indices
    places = torch.arange(vocab, device=logits.device)
    best = _blocks(logits[:, :in_blocks], size).amax(dim=-1).topk(k, sorted=False).indices
    inside = _blocks(places[:in_blocks], size)[best].flatten(1)
    ids = torch.cat([inside, places[in_blocks:].expand(n, -1)], dim=1)
    return ids.gather(1, logits.gather(1, ids).topk(k, dim=-1).indices)


def _blocks(row: Shaped[Tensor, "*n in_blocks"], size: int) -> Shaped[Tensor, "*n n_blocks size"]:
    """Cut so that maxima are found fast: on a CPU from neighbours, on a GPU from what lies a stride apart."""
    n_blocks = row.shape[-1] // size
    if row.device.type == "cpu":
        cut: Tensor = row.unflatten(-1, (n_blocks, size))
    else:
        cut = row.unflatten(-1, (size, n_blocks)).transpose(-1, -2)
    return cut
