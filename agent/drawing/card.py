"""A feature as one picture to pass on: its label, the words and one example that activate it, and what is known of it.

1,200 x 630 pixels, which sites show whole. Painted by matplotlib with a fixed-width font that comes with it, so that
the place of a token is a count of characters; what the font lacks is escaped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from agent.drawing.layout import GREY, INK, PAPER
from agent.evidence.glyphs import spelt

WIDTH, HEIGHT = 1200, 630
_FONT = "DejaVu Sans Mono"
_CELL = 0.602
"""Width of a character of the font, of its size."""
_MARGIN = 60
_ACCENT = "#5b9bd5"
_PLACE_PX, _LABEL_PX, _TEXT_PX = 22, 46, 26
_LABEL_LINES, _EXAMPLE_LINES = 2, 4
_PLACE_Y, _LABEL_Y, _WORDS_Y, _EXAMPLE_Y, _FACTS_Y = 76, 150, 268, 336, 572


class CardToken(NamedTuple):
    """A token of the example; `shade` is its activation as a proportion of the peak, 0 where there is none."""

    text: str
    shade: float


@dataclass(frozen=True)
class PictureCard:
    """The content of the picture; what is empty is left out."""

    place: str
    label: str
    words: Sequence[str] = ()
    example: Sequence[CardToken] = ()
    facts: Sequence[str] = ()


def card_png(card: PictureCard) -> bytes:
    """Draws the picture as a PNG file; the same card gives the same bytes."""
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    for shade in _shades(card):
        axes.add_patch(shade)
    for text in _texts(card):
        axes.text(text.x, text.y, text.words, color=text.hue, fontsize=text.size, family=_FONT, parse_math=False)
    image = BytesIO()
    figure.savefig(image, format="png", dpi=72, metadata={"Software": None})
    return image.getvalue()


class _Text(NamedTuple):
    x: float
    y: float
    words: str
    size: float
    hue: str = INK


class _Run(NamedTuple):
    """A piece of a line of the example, all of one token."""

    line: int
    column: int
    words: str
    shade: float


def _texts(card: PictureCard) -> Iterator[_Text]:
    yield _Text(_MARGIN, _PLACE_Y, _cut(card.place, _PLACE_PX), _PLACE_PX, GREY)
    for number, line in enumerate(_lines(card.label)):
        yield _Text(_MARGIN, _LABEL_Y + number * _LABEL_PX * 1.15, line, _LABEL_PX)
    if card.words:
        yield _Text(_MARGIN, _WORDS_Y, _cut("active on  " + "  ".join(card.words), _PLACE_PX), _PLACE_PX, GREY)
    for run in _runs(card.example):
        x = _MARGIN + run.column * _TEXT_PX * _CELL
        yield _Text(x, _EXAMPLE_Y + run.line * _TEXT_PX * 1.6, run.words, _TEXT_PX)
    yield _Text(_MARGIN, _FACTS_Y, _cut("  ·  ".join(card.facts), _PLACE_PX), _PLACE_PX, GREY)


def _shades(card: PictureCard) -> Iterator[Rectangle]:
    cell = _TEXT_PX * _CELL
    for run in _runs(card.example):
        if run.shade > 0:
            corner = (_MARGIN + run.column * cell, _EXAMPLE_Y + run.line * _TEXT_PX * 1.6 - _TEXT_PX)
            size = len(run.words) * cell, _TEXT_PX * 1.35
            yield Rectangle(corner, *size, color=_ACCENT, alpha=0.15 + 0.75 * min(run.shade, 1.0), linewidth=0)


def _runs(example: Sequence[CardToken]) -> Iterator[_Run]:
    """Yields the example cut into lines between tokens, as far as there is room; a token longer than a line is cut."""
    most, line, column = _room(_TEXT_PX), 0, 0
    for token in example:
        words = spelt(" ".join(token.text.splitlines()), _FONT)[:most]
        if column + len(words) > most:
            line, column, words = line + 1, 0, words.lstrip(" ")
        if line == _EXAMPLE_LINES:
            return
        if words:
            yield _Run(line, column, words, token.shade)
        column += len(words)


def _lines(label: str) -> list[str]:
    """Returns the label in lines, the last of which says if there is more."""
    lines = wrap(spelt(label, _FONT), _room(_LABEL_PX)) or [""]
    return lines if len(lines) <= _LABEL_LINES else [*lines[: _LABEL_LINES - 1], lines[_LABEL_LINES - 1][:-1] + "…"]


def _cut(text: str, size: float) -> str:
    shown, most = spelt(text, _FONT), _room(size)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _room(size: float) -> int:
    """Returns how many characters of a size stand in a line."""
    return int((WIDTH - 2 * _MARGIN) / (size * _CELL))
