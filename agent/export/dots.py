"""A small picture of scores beside their controls: a row of dots for each scorer, as SVG in a page.

Texts come in printable and are escaped here. Colours are the page's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from agent.log.scores import ScoreRow

_NAME_PX, _TRACK_PX, _VALUE_PX, _ROW_PX = 150, 300, 110, 22
_RADIUS_PX = 4


@dataclass(frozen=True)
class Dots:
    """One scorer's scores of a label and its controls."""

    scorer: str
    own: ScoreRow
    controls: Sequence[tuple[str, float]]
    """Scores of the controls, by name."""


def dot_plot(rows: Sequence[Dots]) -> Markup | None:
    """Draws values from 0 to 1, or from -1 if one is below 0; the label's with its interval, the controls' hollow."""
    shown = [row for row in rows if row.own.value is not None]
    if not shown:
        return None
    values = [value for row in shown for value in (row.own.value or 0.0, *(value for _, value in row.controls))]
    low = -1.0 if min(values) < 0 else 0.0
    width, height = _NAME_PX + _TRACK_PX + _VALUE_PX, _ROW_PX * len(shown)
    parts = [piece for place, row in enumerate(shown) for piece in _row(row, _ROW_PX * (place + 0.5), low)]
    head = Markup('<svg class="dots" width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    said = "; ".join(f"{row.scorer} {row.own.value:.2f}" for row in shown)
    return head.format(width, height, width, height, said) + Markup("").join(parts) + Markup("</svg>")


def _row(row: Dots, y: float, low: float) -> Iterator[Markup]:
    def x(value: float) -> float:
        inside = min(max(value, low), 1.0)
        return _NAME_PX + _TRACK_PX * (inside - low) / (1 - low)

    own = row.own
    assert own.value is not None
    yield Markup('<text x="0" y="{:.0f}">{}</text>').format(y + 4, row.scorer)
    yield _line(_NAME_PX, _NAME_PX + _TRACK_PX, y, "track")
    if own.low is not None and own.high is not None:
        yield _line(x(own.low), x(own.high), y, "interval")
    for name, value in row.controls:
        yield _dot(x(value), y, "control", f"{name} {value:.2f}")
    yield _dot(x(own.value), y, "own", f"the label {own.value:.2f}")
    yield Markup('<text x="{}" y="{:.0f}">{:.2f}, n = {}</text>').format(
        _NAME_PX + _TRACK_PX + 10, y + 4, own.value, own.n
    )


def _line(start: float, end: float, y: float, name: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(name, start, end, y, y)


def _dot(x: float, y: float, name: str, title: str) -> Markup:
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
    return dot.format(name, x, y, _RADIUS_PX, escape(title))
