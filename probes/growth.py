"""How definition trees grow: many at once, level by level, over a shared prefix and one store of keys and values.

A node costs one token's forward, and no Python of its own. Knows neither features nor how ghosts are made.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
    """Logits of one forward, in float32; a few copies of them come and go on top."""


MIB = 2**20
ON_CPU = Budget(cache_bytes=256 * MIB, logits_bytes=16 * MIB)
"""Logits that stay within a CPU's caches: more nodes in a forward are slower there."""
ON_ACCELERATOR = Budget(cache_bytes=4096 * MIB, logits_bytes=512 * MIB)


@dataclass(frozen=True)
class Columns:
    """A grown tree, breadth first; to begin with only its root."""

    parents: tuple[int, ...] = (-1,)
    token_ids: tuple[int, ...] = (-1,)
    probabilities: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Nodes:
    """Some nodes of one depth, of any number of trees, in columns. On the CPU, as all bookkeeping is."""

    depth: int
    tree: Int[Tensor, " n"]
    number: Int[Tensor, " n"]
    """Among all nodes of the batch, in the order they were found."""
    parent: Int[Tensor, " n"]
    """The parent's number."""
    token: Int[Tensor, " n"]
    probability: Float64[Tensor, " n"]
    """Cumulative from the root."""


@dataclass(frozen=True)
class Frontier:
    """Nodes whose children are next to be found, and what they can see."""

    nodes: Nodes
    paths: Int[Tensor, "n pos"]
    """Rows of the store, from the prompt's first token to the node's own."""
    base: int
    """The row of the first node's own token; those of the others follow it."""


@dataclass
class _Batch:
    """What grows: the store, and all nodes found so far, the roots first."""

    cache: PathCache
    found: list[Nodes]

    @property
    def n_nodes(self) -> int:
        return int(self.found[-1].number[-1]) + 1


class Grower:
    """Grows trees of one prompt and one set of settings, in bounded memory.

    Level by level, all trees at once. A level too large for the store is split, and each piece's whole subtree grown
    before the next piece: so the store holds one piece per depth at most, and a finished subtree's rows are used again.
    """

    def __init__(self, subject: Subject, prompt: PromptIds, settings: TreeSettings) -> None:
        self._model, self._embedder = subject.model, subject.embedder
        self._prompt, self._settings = prompt, settings
        self._placeholder_id = subject.card.placeholder_id
        takes = inspect.signature(self._model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        budget = ON_CPU if self._model.device.type == "cpu" else ON_ACCELERATOR
        rows = len(prompt.ids) + settings.max_depth
        self._stored_at_once = max(1, budget.cache_bytes // (rows * self._row_bytes()))
        self._forward_at_once = min(self._stored_at_once, max(1, budget.logits_bytes // (4 * subject.card.vocab)))

    def grow(self, ghosts: Float[Tensor, "n d_model"]) -> Iterator[Columns]:
        """One tree per ghost, in their order; ghosts scaled as the embedding's output is."""
        for piece in torch.split(ghosts, self._forward_at_once):
            yield from self._grow_together(piece)

    @torch.inference_mode()
    def _grow_together(self, ghosts: Float[Tensor, "n d_model"]) -> list[Columns]:
        cache = PathCache(self._model)
        logits, roots = self._plant(cache, ghosts)
        batch = _Batch(cache, [roots.nodes])
        waiting = self._descend(batch, roots, [self._best(logits, roots.nodes.probability)])
        while waiting:
            frontier = waiting.pop()
            waiting += self._descend(batch, frontier, self._look(cache, frontier))
        return _columns(batch.found)

    def _plant(self, cache: PathCache, ghosts: Float[Tensor, "n d_model"]) -> tuple[Tensor, Frontier]:
        """Logits after the prompt, and the roots. What stands before the ghost is computed once for all."""
        n, before, rest = len(ghosts), self._prompt.before, self._prompt.rest
        shared = torch.arange(len(before))[None]
        if before:
            self._forward(cache, torch.tensor([before]), shared, 0)
        own = len(before) + torch.arange(n * len(rest)).view(n, len(rest))
        paths = torch.cat([shared.expand(n, -1), own], dim=1)
        with ghosts_at(0, ghosts, self._embedder):
            logits = self._forward(cache, torch.tensor([rest]).expand(n, -1), paths, len(before))
        none, ones = torch.full((n,), -1), torch.ones(n, dtype=torch.float64)
        roots = Nodes(0, torch.arange(n), torch.arange(n), none, none, ones)
        return logits, Frontier(roots, paths, base=len(before) + n * len(rest) - n)

    def _look(self, cache: PathCache, frontier: Frontier) -> Iterator["_Best"]:
        """What each node's children may be, a forward's worth of nodes at a time."""
        pieces = (torch.split(c, self._forward_at_once) for c in (frontier.nodes.token, frontier.paths))
        probabilities = torch.split(frontier.nodes.probability, self._forward_at_once)
        base = frontier.base
        for token, paths, probability in zip(*pieces, probabilities, strict=True):
            yield self._best(self._forward(cache, token[:, None], paths, base), probability)
            base += len(token)

    def _forward(
        self, cache: PathCache, ids: Int[Tensor, "batch new"], paths: Int[Tensor, "batch pos"], base: int
    ) -> Float[Tensor, "batch vocab"]:
        """float32 logits at the last position, the placeholder's minus infinity."""
        device = self._model.device
        cache.see(paths.to(device), ids.shape[1], base)
        output = self._model(input_ids=ids.to(device), past_key_values=cache, use_cache=True, **self._last_only)
        logits: Tensor = output.logits[:, -1].float()
        logits[:, self._placeholder_id] = -torch.inf
        return logits

    def _best(self, logits: Float[Tensor, "n vocab"], probability: Float64[Tensor, " n"]) -> "_Best":
        """The top k of each row, with cumulative probabilities."""
        values, tokens = top_k(logits, min(self._settings.top_k, logits.shape[1]))
        peak = values[:, :1]
        # a softmax of the top k only; in place, since logits are large and nobody reads them again
        share = (values - peak).exp() / logits.sub_(peak).exp_().sum(dim=-1, keepdim=True)
        return _Best(tokens.cpu(), probability[:, None] * share.cpu().double())

    def _descend(self, batch: _Batch, parents: Frontier, found: Iterable["_Best"]) -> list[Frontier]:
        """Notes the children that stay; returns those to be expanded, as they go onto a stack: last piece first."""
        best = list(found)
        tokens, probability = torch.cat([b.tokens for b in best]), torch.cat([b.probability for b in best])
        row, rank = (probability >= self._settings.cutoff).nonzero(as_tuple=True)
        if not len(row):
            return []
        nodes = Nodes(
            depth=parents.nodes.depth + 1,
            tree=parents.nodes.tree[row],
            number=batch.n_nodes + torch.arange(len(row)),
            parent=parents.nodes.number[row],
            token=tokens[row, rank],
            probability=probability[row, rank],
        )
        batch.found.append(nodes)
        free = parents.base + len(parents.paths)
        return [] if nodes.depth == self._settings.max_depth else self._pieces(nodes, parents.paths[row], free)[::-1]

    def _pieces(self, nodes: Nodes, trunks: Int[Tensor, "n pos"], free: int) -> list[Frontier]:
        """The nodes in pieces that the store can hold; all of them are kept from row `free` on, one after the other."""
        pieces = []
        for where in torch.split(torch.arange(len(nodes.token)), self._stored_at_once):
            own = free + torch.arange(len(where))[:, None]
            pieces.append(Frontier(_some(nodes, where), torch.cat([trunks[where], own], dim=1), free))
        return pieces

    @torch.inference_mode()
    def _row_bytes(self) -> int:
        """What one token takes in this model's cache, seen on one."""
        cache = PathCache(self._model)
        self._forward(cache, torch.tensor([[self._placeholder_id]]), torch.zeros(1, 1, dtype=torch.long), 0)
        return cache.row_bytes


@dataclass(frozen=True)
class _Best:
    """The likeliest next tokens of some nodes, each row in falling order."""

    tokens: Int[Tensor, "n k"]
    probability: Float64[Tensor, "n k"]
    """Cumulative from the root."""


def top_k(logits: Float[Tensor, "n vocab"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row, falling, and where they are.

    They lie in the k blocks with the largest maxima, so only those are searched: half the time of a search of the row.
    """
    n, vocab = logits.shape
    n_blocks = vocab // _BLOCK
    if n_blocks < 4 * k:
        whole = logits.topk(k, dim=-1)
        return whole.values, whole.indices
    tail = torch.arange(n_blocks * _BLOCK, vocab, device=logits.device).expand(n, -1)
    best = logits[:, : n_blocks * _BLOCK].unflatten(1, (n_blocks, _BLOCK)).amax(dim=-1).topk(k, sorted=False).indices
    inside = best[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=logits.device)
    ids = torch.cat([inside.flatten(1), tail], dim=1)
    top = logits.gather(1, ids).topk(k, dim=-1)
    return top.values, ids.gather(1, top.indices)


_BLOCK = 128
_COLUMNS = ("tree", "number", "parent", "token", "probability")


def _some(nodes: Nodes, where: Int[Tensor, " m"]) -> Nodes:
    return replace(nodes, **{name: getattr(nodes, name)[where] for name in _COLUMNS})


def _columns(levels: Sequence[Nodes]) -> list[Columns]:
    """The trees, apart, each breadth first: a stable sort, since within a depth nodes were found from left to right."""
    depth = torch.cat([torch.full_like(level.tree, level.depth) for level in levels])
    tree, parent, token, probability = (
        torch.cat([getattr(level, name) for level in levels]) for name in ("tree", "parent", "token", "probability")
    )
    order = torch.argsort(tree * (int(depth.max()) + 1) + depth, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    sizes = torch.bincount(tree)
    first = sizes.cumsum(0) - sizes
    local = torch.where(parent < 0, -1, place[parent] - first[tree])
    apart = (torch.split(column[order], sizes.tolist()) for column in (local, token, probability))
    return [Columns(*(tuple(column.tolist()) for column in columns)) for columns in zip(*apart, strict=True)]
