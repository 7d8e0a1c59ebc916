"""Nodes that wait for their forward, by depth."""

from collections import defaultdict, deque
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from probes.growing.choosing import Nodes


@dataclass(frozen=True)
class Frontier:
    """Nodes of one depth that wait, with the rows of all that stands before them."""

    nodes: Nodes
    trunks: Int[Tensor, "n pos"]

    def at(self, where: slice) -> "Frontier":
        return Frontier(self.nodes.at(where), self.trunks[where])


class Queue:
    """Waiting nodes by depth, first come first served: so the children of a depth's nodes come in their order."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Frontier]] = defaultdict(deque)
        self._count: dict[int, int] = defaultdict(int)

    def put(self, depth: int, frontier: Frontier, first: bool = False) -> None:
        if len(frontier.nodes):
            (self._waiting[depth].appendleft if first else self._waiting[depth].append)(frontier)
            self._count[depth] += len(frontier.nodes)

    def depths(self, least: int = 1) -> list[int]:
        """Returns the depths at which so many nodes wait, rising."""
        return sorted(depth for depth, count in self._count.items() if count >= least)

    def take(self, depth: int, most: int) -> Frontier:
        taken: list[Frontier] = []
        room = most
        while room and self._waiting[depth]:
            frontier = self._waiting[depth].popleft()
            if len(frontier.nodes) > room:
                self._waiting[depth].appendleft(frontier.at(slice(room, None)))
                frontier = frontier.at(slice(room))
            taken.append(frontier)
            room -= len(frontier.nodes)
        self._count[depth] -= most - room
        nodes = Nodes(*(torch.cat([getattr(f.nodes, name) for f in taken]) for name in Nodes.__dataclass_fields__))
        return Frontier(nodes, torch.cat([f.trunks for f in taken]))
