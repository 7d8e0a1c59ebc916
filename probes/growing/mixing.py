"""Grows one tree of several ghosts that are equally likely: the mean of the trees of each.

A path's probability is the mean over the ghosts of what it is after each. Each ghost's own tree is grown down to as
many times the cutoff as there are ghosts, so that several cost about as much as one, but no coarser than `COARSEST`.
What a ghost's own tree lacks counts as 0. A node's `top_k` most probable children are kept, down to the cutoff, as in
any tree.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from jaxtyping import Float
from torch import Tensor

from probes.batching import in_groups
from probes.growing.growth import Grower
from probes.growing.tree_columns import TreeColumns

COARSEST = 0.02
"""Largest cutoff of a ghost's own tree, unless the tree's own is larger: beyond it hardly a node would be left."""


def grow_mixed(grower: Grower, ghosts: Float[Tensor, "n n_ghosts d_model"], least: float = 0.0) -> list[TreeColumns]:
    """Grows one tree for each row of ghosts, in their order, of nodes of at least the probability `least`.

    The trees of several ghosts are each grown as they are without it, since it is of their mean.
    Ghosts are scaled as the embedding's output is; zeros are none, and a row without any gets a bare root.
    """
    alive, finest = ghosts.any(dim=-1), grower.settings.cutoff
    cutoff = max(finest, least)
    counts: list[int] = alive.sum(dim=1).tolist()

    def grown(n_ghosts: int, places: Sequence[int]) -> Iterator[TreeColumns]:
        own = cutoff if n_ghosts < 2 else max(finest, min(n_ghosts * finest, COARSEST))
        trees = iter(grower.grow(ghosts[places][alive[places]], own) if n_ghosts else ())
        for _ in places:
            yield mean_tree([*islice(trees, n_ghosts)], grower.settings.top_k, cutoff)

    return in_groups(range(len(ghosts)), counts.__getitem__, grown)


def mean_tree(trees: Sequence[TreeColumns], top_k: int, cutoff: float) -> TreeColumns:
    """Returns the mean of trees, breadth first, siblings in falling order; what a tree lacks counts as 0 in it."""
    if len(trees) < 2:
        return trees[0] if trees else TreeColumns()
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for tree in trees:
        for path, probability in zip(_paths(tree), tree.probabilities, strict=True):
            sums[path] += probability / len(trees)
    sums[()] = 1.0
    order: list[tuple[int, ...]] = [()]
    children: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
    for path in sums:
        if path:
            children[path[:-1]].append(path)
    for path in order:  # grows as it is read: breadth first
        likely = (child for child in children[path] if sums[child] >= cutoff)
        order += sorted(likely, key=lambda child: (-sums[child], child))[:top_k]
    numbers = {path: number for number, path in enumerate(order)}
    return TreeColumns(
        tuple(numbers[path[:-1]] if path else -1 for path in order),
        tuple(path[-1] if path else -1 for path in order),
        tuple(sums[path] for path in order),
    )


def _paths(tree: TreeColumns) -> Iterator[tuple[int, ...]]:
    """Yields the token ids from the root to each node."""
    paths: list[tuple[int, ...]] = []
    for parent, token_id in zip(tree.parents, tree.token_ids, strict=True):
        paths.append((*paths[parent], token_id) if parent >= 0 else ())
        yield paths[-1]
