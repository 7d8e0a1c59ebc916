"""Neighbours and continuations of a feature in the terminal."""

from collections.abc import Callable, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.evidence.printable import printable
from probes.behaviour import Continuations, Neighbours, TokenPair


def neighbours_table(found: Neighbours, name: Callable[[int], str] = str) -> Group:
    """A line for each neighbour, by its `name`: the tokens of the feature alone, of both, of the neighbour alone."""
    table = _table("feature", "cosine", "this feature's tokens", "both", "the other's tokens")
    for one in found.neighbours:
        table.add_row(name(one.feature), f"{one.cosine:.2f}", _tokens(one.own), _tokens(one.shared), _tokens(one.other))
    return Group(Text("nearest features by decoder cosine; tokens read alone", style="dim"), table)


def continuations_table(found: Continuations, name: Callable[[int], str] = str) -> Group:
    """A line for each opening, with the feature clamped and with a random one, by its `name`."""
    if not found.lines:
        return Group(Text(printable(f"nothing was written with the feature clamped: {found.reason}"), style="dim"))
    other = "none" if found.other is None else name(found.other)
    table = _table("opening", "with the feature clamped", f"with feature {other} clamped equally far")
    for line in found.lines:
        table.add_row(*(Text(printable(text)) for text in (line.opening, line.text, line.beside)))
    caption = (
        f"written with the feature clamped at {found.amount:.4g}, {found.settings.steering.strength:.3g} x its maximum"
    )
    return Group(Text(caption, style="dim"), table)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _tokens(pairs: Sequence[TokenPair]) -> Text:
    return Text(printable(", ".join(pair.token.strip() or pair.token for pair in pairs)))
