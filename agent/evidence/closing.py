"""A definition tree cut at its closing quotes: the definition ends there.

Base prompts end with an opening quote; a token such as `".` closes it. Pictures and outlines draw what this returns;
prompts and JSON keep the whole tree.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from probes.evidence import Contrast, Tree

_QUOTE = '"'


def until_quote(tree: Tree) -> Tree:
    """Cuts `tree` after closing quotes; ends that look alike below the same parent become one node.

    Ids of cut tokens are negative, below the root's -1. A tree whose prompt opens no quote is returned as it is.
    """
    if not tree.prompt.rstrip().endswith(_QUOTE) or not any(_QUOTE in text for text in tree.texts.values()):
        return tree
    merged, ends = _merged(tree)
    order = _ordered(tree, merged)
    place = {node: index for index, node in enumerate(order)}
    ids = {text: -2 - index for index, text in enumerate(dict.fromkeys(ends.values()))}
    token_ids = tuple(ids[ends[node]] if node in ends else tree.token_ids[node] for node in order)
    texts = dict(tree.texts) | {id: text for text, id in ids.items()}
    return replace(
        tree,
        parents=(-1, *(place[tree.parents[node]] for node in order[1:])),
        token_ids=token_ids,
        probabilities=tuple(sum(tree.probabilities[one] for one in merged[node]) for node in order),
        texts={id: texts[id] for id in dict.fromkeys(token_ids[1:])},
        contrast=None if tree.contrast is None else _contrast(tree.contrast, [merged[node] for node in order]),
    )


def _merged(tree: Tree) -> tuple[dict[int, list[int]], dict[int, str]]:
    """Returns the kept nodes, each with the nodes that it stands for, and the text of those that end a definition."""
    merged: dict[int, list[int]] = {0: [0]}
    ends: dict[int, str] = {}
    first: dict[tuple[int, str], int] = {}
    for node in range(1, tree.n_nodes):
        parent, text = tree.parents[node], tree.texts[tree.token_ids[node]]
        if parent not in merged or parent in ends:
            continue
        if _QUOTE not in text:
            merged[node] = [node]
        elif (key := (parent, _cut(text))) in first:
            merged[first[key]].append(node)
        else:
            first[key], merged[node], ends[node] = node, [node], key[1]
    return merged, ends


def _ordered(tree: Tree, merged: dict[int, list[int]]) -> list[int]:
    """Returns the kept nodes, parents first; siblings are sorted anew, since merging may have changed their order."""
    below = defaultdict(list)
    for node in list(merged)[1:]:
        below[tree.parents[node]].append(node)
    order = [0]
    for node in order:
        order += sorted(below[node], key=lambda one: -sum(tree.probabilities[each] for each in merged[one]))
    return order


def _cut(text: str) -> str:
    return text[: text.index(_QUOTE)].rstrip(" ") + _QUOTE


def _contrast(contrast: Contrast, groups: Sequence[Sequence[int]]) -> Contrast:
    null, centroid = (
        tuple(_sum([column[node] for node in group]) for group in groups)
        for column in (contrast.null, contrast.centroid)
    )
    return replace(contrast, null=null, centroid=centroid)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
