"""A definition tree drawn with letters: one phrase per line, with probability and lift as numbers and a bar."""

import math
from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.evidence.badge import tree_badge
from agent.evidence.branches import Branch, Trim, drawn
from agent.evidence.closing import until_quote
from agent.evidence.wording import percent, phrase_words, prompt_words, tree_words
from probes.evidence import Tree

_BAR_CELLS = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"


def tree_outline(tree: Tree, trim: Trim) -> Group:
    """Draws the tree under its prompt, children indented below their parents, in the order that `trim` asks for."""
    picture = drawn(until_quote(tree), trim)
    head = Text.assemble((prompt_words(tree), "bold"), ("   " + tree_words(tree.settings), "dim"))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True, min_width=_BAR_CELLS)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    if tree.contrast:
        grid.add_column(justify="right", no_wrap=True)
    for branch, guide in _guided(picture.root):
        line = Text.assemble((guide, "dim"), phrase_words(branch.text))
        lift = [_lift(branch.lift)] if tree.contrast else []
        grid.add_row(Text(percent(branch.probability)), Text(bar(branch.probability), "cyan"), line, *lift)
    notes = [] if picture.n_drawn == picture.n_nodes else [f"{picture.n_drawn} of {picture.n_nodes} nodes drawn"]
    if trim.rank == "lift":
        notes.append("in falling order of probability times lift")
    if tree.contrast:
        notes.append(f"right: lift, nats above random directions; the tree {tree_badge(tree.contrast).brief}")
    return Group(head, grid, *(Text(note, "dim") for note in notes))


def _lift(lift: float | None) -> Text:
    """Formats a lift, bold if the ghost makes the phrase at least twenty times as probable."""
    return Text("" if lift is None else f"{lift:+.1f}", "bold" if lift is not None and lift >= math.log(20) else "dim")


def bar(share: float, cells: int = _BAR_CELLS) -> str:
    """Draws a proportion as a bar of at most `cells` character cells, to an eighth of one."""
    eighths = round(share * cells * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _guided(root: Branch) -> Iterator[tuple[Branch, str]]:
    """Yields every branch in drawing order with its guide lines. The root's own children stand at the margin."""
    stack = [(child, "", "") for child in reversed(root.children)]
    while stack:
        branch, guide, indent = stack.pop()
        yield branch, guide
        below = [(child, indent + "├─ ", indent + "│  ") for child in branch.children]
        if below:
            below[-1] = (branch.children[-1], indent + "└─ ", indent + "   ")
        stack.extend(reversed(below))
