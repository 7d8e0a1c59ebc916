"""Grows definition trees, many at once, over a shared prefix and one store of keys and values.

A node costs one token's forward, and no Python of its own. Nodes wait by depth; the deepest depth with a full batch
goes first, so forwards stay full while memory stays small; new trees are planted when no depth has one, and when none
are left the shallowest goes first, which fills the depths below it.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from probes.errors import SubjectError
from probes.growing.choosing import ChildChoice, LikeliestChildren, Nodes, Trie, TrieChildren
from probes.growing.frontier import Frontier, Queue
from probes.growing.memory import budget_of, peak_bytes
from probes.growing.path_cache import PathCache
from probes.growing.readout import Readout
from probes.growing.rows import Lineage, RowStock
from probes.growing.transfer import PendingTensors, sent
from probes.growing.tree_columns import TreeColumns, columns_of
from probes.settings import TreeSettings
from probes.tokenizer.prompt import PromptIds


class GhostModel(Protocol):
    """The model in which trees grow, with ghosts in place of tokens."""

    @property
    def model(self) -> PreTrainedModel: ...

    @property
    def placeholder_id(self) -> int:
        """The token that no definition may have."""
        ...

    def ghosts_at(self, position: int, vectors: Float[Tensor, "batch d_model"]) -> AbstractContextManager[None]:
        """While it lasts, sequence i that the model reads has `vectors[i]` at `position`."""
        ...


class Steering(Protocol):
    """A change of a model's forward while trees grow."""

    everywhere: bool
    """Whether it changes what stands before the ghost too, which trees then cannot share."""

    def over(self, trees: Int[Tensor, " n"], planting: bool) -> AbstractContextManager[None]:
        """While it lasts, sequence i of a forward belongs to ghost `trees[i]` of all that were given to `grow`.

        Planting, sequences begin at the ghost (or at the prompt's first token, where it is everywhere); else they are
        one token of a definition each.
        """
        ...


@dataclass(frozen=True)
class _PendingForward:
    """Nodes of one depth whose forward has been asked for; their paths end in their own rows."""

    depth: int
    nodes: Nodes
    paths: Int[Tensor, "n pos"]
    read: PendingTensors


class _Growth:
    """Trees that grow together: what is found, what waits, and the rows it stands in."""

    def __init__(self, cache: PathCache, ghosts: Tensor, choice: ChildChoice, stock: RowStock, first: int) -> None:
        self.cache, self.ghosts, self.choice, self.stock, self.first = cache, ghosts, choice, stock, first
        self.lineage = Lineage(stock)
        self.queue = Queue()
        self.shared: Tensor = torch.empty(0, dtype=torch.long)
        """Rows of what stands before every ghost."""
        self.n_planted = 0
        self.launched: _PendingForward | None = None
        self.found: list[tuple[int, Nodes]] = []

    @property
    def unplanted(self) -> int:
        return len(self.ghosts) - self.n_planted

    @property
    def done(self) -> bool:
        return not (self.unplanted or self.launched or self.queue.depths())


class Grower:
    """Grows trees of one prompt and one set of settings, in bounded memory."""

    def __init__(
        self,
        ground: GhostModel,
        prompt: PromptIds,
        settings: TreeSettings,
        steering: Steering | None = None,
    ) -> None:
        self._ground, self._model, self.settings, self._steering = ground, ground.model, settings, steering
        self._readout = Readout(self._model, ground.placeholder_id)
        everywhere = steering is not None and steering.everywhere
        self._before = () if everywhere else prompt.before
        self._rest = prompt.ids if everywhere else prompt.rest
        self._ghost_at = prompt.ghost_position if everywhere else 0
        self.budget = budget_of(self._model.device, self._node_bytes)
        vocab = self._model.get_input_embeddings().weight.shape[0]
        self._read_at_once = self.budget.logits_rows(vocab)
        self._at_once = self.budget.nodes if self._readout.splits else min(self.budget.nodes, self._read_at_once)

    def grow(self, ghosts: Float[Tensor, "n d_model"], least: float = 0.0) -> Iterator[TreeColumns]:
        """One tree per ghost, in their order, of nodes of at least the probability `least`.

        Ghosts are scaled as the embedding's output is.
        """
        settings, cutoff = self.settings, max(self.settings.cutoff, least)
        choice, together = LikeliestChildren(cutoff, settings.top_k, settings.max_depth), self.budget.trees
        for first in range(0, len(ghosts), together):
            yield from columns_of(self._run(ghosts[first : first + together], choice, first))

    def follow(self, ghosts: Float[Tensor, "n d_model"], trie: Trie) -> Float64[Tensor, "n n_nodes"]:
        """Returns how probable every node of `trie` is after each of the ghosts, cumulative from the root."""
        probabilities = torch.ones(len(ghosts), len(trie), dtype=torch.float64)
        for _, nodes in self._run(ghosts, TrieChildren(trie)) if len(trie) > 1 else []:
            probabilities[nodes.tree, nodes.mark] = nodes.probability
        return probabilities

    @torch.inference_mode()
    def _run(self, ghosts: Float[Tensor, "n d_model"], choice: ChildChoice, first: int = 0) -> list[tuple[int, Nodes]]:
        """All nodes, by depth, in the order they were found: within a tree and a depth from left to right.

        The ghosts are the `first` and those that follow it of all that are steered.
        """
        growth = self._begin(ghosts, choice, first)
        while not growth.done:
            try:
                launched = self._launch(growth)
            except torch.OutOfMemoryError:
                self._halve()
            else:
                self._settle(growth)
                growth.launched = launched
        return growth.found

    def _begin(self, ghosts: Float[Tensor, "n d_model"], choice: ChildChoice, first: int) -> _Growth:
        """Nothing planted yet; what stands before the ghosts is computed once for all."""
        least = len(self._before) + len(self._rest) + self.settings.max_depth
        n_rows = max(least, self.budget.cache_bytes // self._row_bytes)
        growth = _Growth(PathCache(self._model, n_rows), ghosts, choice, RowStock(n_rows), first)
        if not self._before:
            return growth
        growth.shared = growth.stock.take(len(self._before))
        growth.cache.see(sent(growth.shared[None], self._model.device), len(self._before))
        try:
            self._readout.states(growth.cache, torch.tensor([self._before]))
        except torch.OutOfMemoryError:
            if n_rows == least:
                raise _no_memory() from None
            self.budget = replace(self.budget, cache_bytes=self.budget.cache_bytes // 2)
            return self._begin(ghosts, choice, first)
        return growth

    def _launch(self, growth: _Growth) -> _PendingForward | None:
        """Asks for the next forward; None where what has been asked for must be known first.

        A full batch need not wait for what was asked for before it, so that a GPU goes on while its answers are read.
        So many rows stay free that single nodes, the deepest first, can always go on to the end.
        """
        spare = growth.stock.n_free - self.settings.max_depth
        full = growth.queue.depths(least=self._at_once)
        if full and spare >= self._at_once:
            return self._expand(growth, full[-1], self._at_once)
        if growth.launched:
            return None
        if growth.unplanted and spare >= len(self._rest):
            return self._plant(growth, spare)
        waiting = growth.queue.depths()
        if spare <= 0:
            return self._expand(growth, waiting[-1], 1)
        return self._expand(growth, waiting[0 if spare >= self._at_once else -1], min(spare, self._at_once))

    def _plant(self, growth: _Growth, spare: int) -> _PendingForward:
        """The next trees' roots: their prompts from the ghost on."""
        n = max(1, min(growth.unplanted, self._at_once // len(self._rest), spare // len(self._rest)))
        trees = growth.n_planted + torch.arange(n)
        own = growth.stock.take(n * len(self._rest)).view(n, -1)
        paths = torch.cat([growth.shared.expand(n, -1), own], dim=1)
        with _or_back(growth.stock, own.flatten()):
            with self._ground.ghosts_at(self._ghost_at, growth.ghosts[sent(trees, growth.ghosts.device)]):
                states = self._states(growth, trees, torch.tensor([self._rest]).expand(n, -1), paths, planting=True)
            read = self._read(growth.choice, 0 * trees, states)
        growth.n_planted += n
        none = torch.full((n,), -1)
        roots = Nodes(trees, growth.lineage.add(none), none, none, torch.ones(n, dtype=torch.float64), 0 * trees)
        growth.found.append((0, roots))
        growth.lineage.own_prompts(roots.number, own[:, :-1])
        return _PendingForward(0, roots, paths, read)

    def _expand(self, growth: _Growth, depth: int, most: int) -> _PendingForward:
        """The next nodes of a depth: their own token's forward."""
        frontier = growth.queue.take(depth, most)
        nodes = frontier.nodes
        own = growth.stock.take(len(nodes))
        paths = torch.cat([frontier.trunks, own[:, None]], dim=1)
        try:
            with _or_back(growth.stock, own):
                states = self._states(growth, nodes.tree, nodes.token[:, None], paths)
                read = self._read(growth.choice, nodes.mark, states)
        except torch.OutOfMemoryError:
            growth.queue.put(depth, frontier, first=True)
            raise
        return _PendingForward(depth, nodes, paths, read)

    def _settle(self, growth: _Growth) -> None:
        """Notes the children of the nodes that were launched, if any; those that are open wait."""
        if growth.launched is None:
            return
        depth, nodes, paths = growth.launched.depth, growth.launched.nodes, growth.launched.paths
        read = growth.launched.read.wait()
        self._check_numbers(read)
        kids = growth.choice.keep(nodes, depth, read)
        parents = nodes.number[kids.place]
        found = Nodes(
            nodes.tree[kids.place], growth.lineage.add(parents), parents, kids.token, kids.probability, kids.mark
        )
        if len(found):
            growth.found.append((depth + 1, found))
        open_kids = torch.bincount(kids.place[kids.open], minlength=len(nodes))
        growth.lineage.expand(nodes.number, paths[:, -1], open_kids)
        growth.queue.put(depth + 1, Frontier(found.at(kids.open), paths[kids.place[kids.open]]))

    def _states(
        self,
        growth: _Growth,
        trees: Int[Tensor, " n"],
        ids: Int[Tensor, "n new"],
        paths: Int[Tensor, "n pos"],
        planting: bool = False,
    ) -> Float[Tensor, "n hidden"]:
        """Returns the hidden states at the last of each sequence's `ids`, which stand in the last rows of its path."""
        growth.cache.see(sent(paths, self._model.device), ids.shape[1])
        steered = nullcontext() if self._steering is None else self._steering.over(growth.first + trees, planting)
        with steered, sdpa_kernel(_ATTENTION):
            return self._readout.states(growth.cache, ids)

    def _read(self, choice: ChildChoice, marks: Int[Tensor, " n"], states: Float[Tensor, "n hidden"]) -> PendingTensors:
        """Returns what the choice of children reads of the logits, computed a slice at a time."""
        pieces = zip(states.split(self._read_at_once), marks.split(self._read_at_once), strict=True)
        read = [choice.read(self._readout.logits(piece), marks) for piece, marks in pieces]
        return PendingTensors(torch.cat(column) for column in zip(*read, strict=True))

    def _check_numbers(self, read: Sequence[Tensor]) -> None:
        """Raises SubjectError for probabilities that are not numbers: no child would be kept, and nobody told why."""
        if any(bool(column.isnan().any()) for column in read):
            dtype = str(self._model.dtype).removeprefix("torch.")
            wider = "float32" if dtype == "bfloat16" else "bfloat16 or float32"
            hint = "its weights may be damaged" if dtype == "float32" else f"load it with --dtype {wider}"
            raise SubjectError(f"The model's next-token probabilities are not numbers (NaN) in {dtype}; {hint}.")

    def _halve(self) -> None:
        """Half as much at a time, after the device ran out of memory. Raises SubjectError where there is no half."""
        if self._at_once == 1:
            raise _no_memory() from None
        self._at_once, self._read_at_once = self._at_once // 2, max(1, self._read_at_once // 2)
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    @cached_property
    def _row_bytes(self) -> int:
        """Measures the bytes that one token takes in this model's cache."""
        return self._tried(1).row_bytes

    def _node_bytes(self) -> int:
        """Measures the bytes that one node takes on a GPU during its forward, on nodes as deep as can be."""
        return peak_bytes(self._model.device, lambda: self._tried(_SAMPLE)) // _SAMPLE

    @torch.inference_mode()
    def _tried(self, n: int) -> PathCache:
        """The cache of a forward of n nodes, all with the same rows before them."""
        length = len(self._before) + len(self._rest) + self.settings.max_depth
        cache = PathCache(self._model, length)
        cache.see(torch.arange(length).expand(n, -1).to(self._model.device), 1)
        try:
            self._readout.states(cache, torch.tensor([self._rest[:1]]).expand(n, -1))
        except torch.OutOfMemoryError:
            raise _no_memory() from None
        return cache


_SAMPLE = 64
_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Not cuDNN's, which plans anew for every shape, and growing trees have thousands."""


def _no_memory() -> SubjectError:
    return SubjectError("The device has not enough free memory for a few nodes of this model's trees.")


@contextmanager
def _or_back(stock: RowStock, rows: Int[Tensor, " n"]) -> Iterator[None]:
    """Reserves these rows for what runs within; if memory does not suffice for it, they are freed again."""
    try:
        yield
    except torch.OutOfMemoryError:
        stock.give(rows)
        raise
