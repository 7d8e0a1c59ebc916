"""A definition tree for pages: columns for the script that draws it, nested lists for browsers without it.

Every text it returns is safe to print.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agent.evidence.badge import Badge, tree_badge
from agent.evidence.branches import OMITTED, Branch, Trim, drawn
from agent.evidence.closing import until_quote
from agent.evidence.printable import printable
from agent.evidence.wording import percent, phrase_words, prompt_words, tree_words
from probes.evidence import Tree

OUTLINE_NODES = 40
TOKEN_CHARS = 200
"""Most characters of a token in a drawing."""


@dataclass(frozen=True)
class Twig:
    """A phrase of an outline with the phrases that follow it."""

    text: str
    share: str
    below: tuple["Twig", ...]


@dataclass(frozen=True)
class Outline:
    """The most probable phrases of a tree."""

    twigs: tuple[Twig, ...]
    n_drawn: int
    n_nodes: int


def drawing(tree: Tree) -> Mapping[str, Any]:
    """Returns the tree for `static/tree.js`, JSON-safe: one entry per node in `parents`, `token` and figures, parents
    first.

    What follows a closing quote is left out, and degenerate closing tokens with what hangs below them, as in the
    terminal; `n_nodes` counts the latter.
    """
    tree = until_quote(tree)
    kept = _kept(tree)
    place = {node: index for index, node in enumerate(kept)}
    spelling = {id: index for index, id in enumerate(dict.fromkeys(tree.token_ids[node] for node in kept[1:]))}
    lifts = None if tree.contrast is None else [_rounded(tree.lifts[node]) for node in kept]
    return {
        "prompt": prompt_words(tree),
        "settings": tree_words(tree.settings),
        "cutoff": tree.settings.tree.cutoff,
        "n_nodes": tree.n_nodes - 1,
        "tokens": [_spelt(tree.texts[id]) for id in spelling] or [""],
        "parents": [-1, *(place[tree.parents[node]] for node in kept[1:])],
        "token": [0, *(spelling[tree.token_ids[node]] for node in kept[1:])],
        "probabilities": [_rounded(tree.probabilities[node]) for node in kept],
        "lifts": lifts,
        "badge": None if (found := badge(tree)) is None else asdict(found),
    }


def badge(tree: Tree) -> Badge | None:
    """Returns the verdict on the tree beside random directions'; None if it was not measured."""
    return None if tree.contrast is None else tree_badge(tree.contrast)


def outline(tree: Tree, most: int = OUTLINE_NODES) -> Outline:
    """Returns the `most` probable nodes of the tree as nested phrases."""
    picture = drawn(until_quote(tree), Trim(most))
    return Outline(tuple(map(_twig, picture.root.children)), picture.n_drawn, picture.n_nodes)


def _twig(branch: Branch) -> Twig:
    return Twig(phrase_words(branch.text), percent(branch.probability), tuple(map(_twig, branch.children)))


def _kept(tree: Tree) -> list[int]:
    """Returns the root and every node without an omitted token above it, in the tree's order."""
    omitted = {id for id, text in tree.texts.items() if text in OMITTED}
    kept = {0}
    for node in range(1, tree.n_nodes):
        if tree.parents[node] in kept and tree.token_ids[node] not in omitted:
            kept.add(node)
    return sorted(kept)


def _spelt(token: str) -> str:
    """Makes a token printable and short: it may have 100,000 characters."""
    return printable(token if len(token) <= TOKEN_CHARS else f"{token[: TOKEN_CHARS - 1]}…")


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")
