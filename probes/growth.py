"""How definition trees grow: many at once, level by level, over a shared prefix and one store of keys and values.

A node costs one token's forward, and no Python of its own. Knows neither features nor how ghosts are made.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from probes.ghost import ghosts_at
from probes.path_cache import PathCache
from probes.prompt import PromptIds
from probes.settings import TreeSettings
from probes.subject import Subject


@dataclass(frozen=True)
class Budget:
    """What one batch of trees may take."""

    cache_bytes: int
    """Keys and values."""
    logits_bytes: int
    """Logits of one forward, in float32; a few temporary copies come on top."""


MIB = 2**20
ON_CPU = Budget(cache_bytes=512 * MIB, logits_bytes=16 * MIB)
"""Logits that stay within a CPU's caches: more nodes in a forward are slower there."""
ON_ACCELERATOR = Budget(cache_bytes=4096 * MIB, logits_bytes=512 * MIB)


@dataclass(frozen=True)
class Columns:
    """A grown tree, breadth first; to begin with only its root."""

    parents: tuple[int, ...] = (-1,)
    token_ids: tuple[int, ...] = (-1,)
    probabilities: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Frontier:
    """Nodes of one depth and any number of trees, whose children are next to be found. On the CPU, as all books are."""

    depth: int
    base: int
    """First row of the store that is free for them."""
    tree: Int[Tensor, " n"]
    node: Int[Tensor, " n"]
    """Number among all nodes of the batch, in the order they were found."""
    parent: Int[Tensor, " n"]
    token: Int[Tensor, " n"]
    probability: Float64[Tensor, " n"]
    """Cumulative from the root."""
    paths: Int[Tensor, "n pos"]
    """The store's rows of all that comes before the node's own token."""

    def split(self, size: int) -> list["Frontier"]:
        """The same nodes in pieces of at most `size`, in order."""
        names = ("tree", "node", "parent", "token", "probability", "paths")
        columns = zip(*(torch.split(getattr(self, name), size) for name in names), strict=True)
        return [replace(self, **dict(zip(names, piece, strict=True))) for piece in columns] if len(self.node) else []


@dataclass
class _Batch:
    """What grows: the store, and all nodes found so far, the roots first."""

    cache: PathCache
    n_nodes: int
    found: list[Frontier] = field(default_factory=list)


class Grower:
    """Grows trees of one prompt and one set of settings, in bounded memory.

    A frontier too large for one forward is split, and a piece's whole subtree is grown before the next piece: then the
    store holds one piece per depth at most, and the rows of a finished subtree are written over by the next one.
    """

    def __init__(self, subject: Subject, prompt: PromptIds, settings: TreeSettings) -> None:
        self._model, self._embedder = subject.model, subject.embedder
        self._prompt, self._settings = prompt, settings
        self._placeholder_id = subject.card.placeholder_id
        self._extra = (
            {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self._model.forward).parameters else {}
        )
        self._chunk = self._nodes_per_forward(subject.card.vocab)

    @torch.inference_mode()
    def grow(self, ghosts: Float[Tensor, "n d_model"]) -> Iterator[Columns]:
        """One tree per ghost, in their order; ghosts scaled as the embedding's output is."""
        pieces = torch.split(ghosts, self._chunk)
        return (columns for piece in pieces for columns in self._grow_together(piece))

    @torch.inference_mode()
    def _grow_together(self, ghosts: Float[Tensor, "n d_model"]) -> list[Columns]:
        batch = _Batch(PathCache(self._model), n_nodes=len(ghosts))
        logits, roots = self._plant(batch.cache, ghosts)
        children = self._children(batch, logits, roots)
        waiting = self._pieces(children)
        while waiting:
            frontier = waiting.pop()
            paths = _with_new_rows(frontier.paths, frontier.base, 1)
            logits = self._forward(batch.cache, frontier.token[:, None], paths, frontier.base)
            parents = replace(frontier, paths=paths, base=frontier.base + len(paths))
            waiting += self._pieces(self._children(batch, logits, parents))
        return _columns(roots, batch.found)

    def _plant(self, cache: PathCache, ghosts: Float[Tensor, "n d_model"]) -> tuple[Tensor, Frontier]:
        """Logits after the prompt, and the roots. What stands before the ghost is computed once for all."""
        n, before, rest = len(ghosts), self._prompt.before, self._prompt.rest
        shared = torch.arange(len(before))[None]
        if before:
            self._forward(cache, torch.tensor([before]), shared, 0)
        paths = _with_new_rows(shared.expand(n, -1), len(before), len(rest))
        with ghosts_at(0, ghosts, self._embedder):
            logits = self._forward(cache, torch.tensor([rest]).expand(n, -1), paths, len(before))
        ids, none = torch.arange(n), torch.full((n,), -1)
        ones = torch.ones(n, dtype=torch.float64)
        return logits, Frontier(0, len(before) + n * len(rest), ids, ids, none, none, ones, paths)

    def _forward(
        self, cache: PathCache, ids: Int[Tensor, "batch new"], paths: Int[Tensor, "batch pos"], base: int
    ) -> Float[Tensor, "batch vocab"]:
        """float32 logits at the last position, the placeholder's minus infinity."""
        device = self._model.device
        cache.see(paths.to(device), ids.shape[1], base)
        output = self._model(input_ids=ids.to(device), past_key_values=cache, use_cache=True, **self._extra)
        logits: Tensor = output.logits[:, -1].float()
        logits[:, self._placeholder_id] = -torch.inf
        return logits

    def _children(self, batch: _Batch, logits: Float[Tensor, "batch vocab"], parents: Frontier) -> Frontier:
        """The children that stay, noted in the batch: parents in order, each one's children in falling order."""
        top = logits.topk(min(self._settings.top_k, logits.shape[1]), dim=-1)
        share = (top.values - logits.logsumexp(dim=-1, keepdim=True)).exp().cpu().double()
        cumulative = parents.probability[:, None] * share
        row, rank = (cumulative >= self._settings.cutoff).nonzero(as_tuple=True)
        children = Frontier(
            depth=parents.depth + 1,
            base=parents.base,
            tree=parents.tree[row],
            node=batch.n_nodes + torch.arange(len(row)),
            parent=parents.node[row],
            token=top.indices.cpu()[row, rank],
            probability=cumulative[row, rank],
            paths=parents.paths[row],
        )
        batch.n_nodes += len(row)
        batch.found.append(children)
        return children

    def _pieces(self, frontier: Frontier) -> list[Frontier]:
        """What is still to be expanded, last piece first, as it goes onto a stack."""
        deep = frontier.depth >= self._settings.max_depth
        return [] if deep else frontier.split(self._chunk)[::-1]

    @torch.inference_mode()
    def _nodes_per_forward(self, vocab: int) -> int:
        """How many sequences fit the budgets, by the size that one token of this model's cache really has."""
        cache = PathCache(self._model)
        self._forward(cache, torch.tensor([[self._placeholder_id]]), torch.zeros(1, 1, dtype=torch.long), 0)
        rows = len(self._prompt.ids) + self._settings.max_depth
        budget = ON_CPU if self._model.device.type == "cpu" else ON_ACCELERATOR
        return max(1, min(budget.cache_bytes // (rows * cache.row_bytes), budget.logits_bytes // (vocab * 4)))


def _with_new_rows(paths: Int[Tensor, "n pos"], base: int, n_new: int) -> Int[Tensor, "n pos+n_new"]:
    """The paths, each longer by its own `n_new` rows from `base` on."""
    new = base + torch.arange(len(paths) * n_new).view(len(paths), n_new)
    return torch.cat([paths, new], dim=1)


def _columns(roots: Frontier, found: Sequence[Frontier]) -> list[Columns]:
    """The trees, apart, each breadth first: a stable sort, since within a depth nodes were found from left to right."""
    levels = [roots, *found]
    depth = torch.cat([torch.full_like(level.node, level.depth) for level in levels])
    tree, parent, token, probability = (
        torch.cat([getattr(level, name) for level in levels]) for name in ("tree", "parent", "token", "probability")
    )
    order = torch.argsort(tree * (int(depth.max()) + 1) + depth, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    sizes = torch.bincount(tree, minlength=len(roots.node))
    first = sizes.cumsum(0) - sizes
    local = torch.where(parent < 0, -1, place[parent] - first[tree])
    apart = (torch.split(column[order], sizes.tolist()) for column in (local, token, probability))
    return [Columns(*(tuple(column.tolist()) for column in columns)) for columns in zip(*apart, strict=True)]
