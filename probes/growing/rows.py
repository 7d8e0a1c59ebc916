"""Keeps account of a store's free rows; a node's row is needed as long as any node below it waits."""

import torch
from jaxtyping import Int
from torch import Tensor


class RowStock:
    """A stock of `capacity` rows, lowest first."""

    def __init__(self, capacity: int) -> None:
        self._stack = torch.arange(capacity - 1, -1, -1)
        self.n_free = capacity

    def take(self, n: int) -> Int[Tensor, " n"]:
        """n free rows; there must be as many."""
        self.n_free -= n
        return self._stack[self.n_free : self.n_free + n].flip(0)

    def give(self, rows: Int[Tensor, " n"]) -> None:
        """These rows are free again."""
        self._stack[self.n_free : self.n_free + len(rows)] = rows
        self.n_free += len(rows)


class Lineage:
    """Every node's parent, its row, and how many nodes right below it are not done with."""

    def __init__(self, stock: RowStock) -> None:
        self._stock = stock
        self._table = torch.empty(3, 1024, dtype=torch.long)
        self._prompts: dict[int, Tensor] = {}
        self.n_nodes = 0

    def add(self, parents: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Numbers of new nodes below `parents`, -1 for roots."""
        numbers = self.n_nodes + torch.arange(len(parents))
        self.n_nodes += len(parents)
        if self.n_nodes > self._table.shape[1]:
            spare = torch.empty(3, max(self.n_nodes, 2 * self._table.shape[1]) - self._table.shape[1], dtype=torch.long)
            self._table = torch.cat([self._table, spare], dim=1)
        self._parent[numbers] = parents
        return numbers

    def own_prompts(self, roots: Int[Tensor, " n"], prompts: Int[Tensor, "n pos"]) -> None:
        """Returns the rows that roots hold besides their own."""
        self._prompts |= zip(roots.tolist(), prompts, strict=True)

    def expand(self, numbers: Int[Tensor, " n"], rows: Int[Tensor, " n"], n_open: Int[Tensor, " n"]) -> None:
        """The nodes stand in `rows` now, and have so many children that will be expanded; frees what is done with."""
        self._row[numbers], self._open[numbers] = rows, n_open
        done = numbers[n_open == 0]
        while len(done):
            self._free(done)
            parents = self._parent[done]
            parents = parents[parents >= 0]
            self._open.index_add_(0, parents, torch.full_like(parents, -1))
            done = parents[self._open[parents] == 0].unique()

    def _free(self, done: Int[Tensor, " n"]) -> None:
        self._stock.give(self._row[done])
        for root in done[self._parent[done] < 0].tolist():
            self._stock.give(self._prompts.pop(root))

    @property
    def _parent(self) -> Tensor:
        return self._table[0]

    @property
    def _row(self) -> Tensor:
        return self._table[1]

    @property
    def _open(self) -> Tensor:
        return self._table[2]
