"""A text in the terminal, each token shaded by a feature's activation there."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from agent.cli.terminal.tables import plain_table
from agent.evidence.printable import printable
from agent.evidence.shown_examples import CLOSING, OPENING

_SHADES = ("", *(f"on color({number})" for number in (230, 229, 222, 215, 208)))
"""Backgrounds from pale to strong, of the 256 colours that terminals have; letters on them are black."""
_BAR = 12
_MAX_ROWS = 40
_LINE_END = "↵"


def shaded(tokens: Sequence[str], activations: Sequence[float], coloured: bool, top: float | None = None) -> Text:
    """Shades a text; the strongest shade is at `top`, by default the text's own peak.

    Where there are no colours, tokens at which the feature is active stand between marks.
    """
    top, text = max(activations, default=0.0) if top is None else top, Text(overflow="fold")
    for token, activation in zip(tokens, activations, strict=True):
        shown = _LINE_END.join(map(printable, token.split("\n")))
        if activation <= 0:
            text.append(shown)
        elif coloured:
            level = min(max(1, round((len(_SHADES) - 1) * activation / max(top, activation))), len(_SHADES) - 1)
            text.append(shown, style=f"black {_SHADES[level]}")
        else:
            text.append(f"{OPENING}{shown}{CLOSING}")
    return text


def active_tokens(tokens: Sequence[str], activations: Sequence[float]) -> Table:
    """Returns the tokens at which the feature is active, in their order; the strongest if they are many."""
    active = [place for place, activation in enumerate(activations) if activation > 0]
    kept = sorted(sorted(active, key=lambda place: -activations[place])[:_MAX_ROWS])
    table = plain_table("place", "token", "activation", "")
    for place in kept:
        length = round(_BAR * activations[place] / max(activations))
        cells = (str(place), printable(tokens[place]), f"{activations[place]:.3g}", "█" * max(1, length))
        table.add_row(*map(Text, cells))
    return table
