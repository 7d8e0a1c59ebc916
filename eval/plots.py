"""Plots of plain numbers, written as PNG or SVG by the file's ending: intervals, histograms, pairs, curves.

Texts are written as they are, never as markup. matplotlib's global state is left alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agent.evidence.glyphs import spelt
from probes.doors.outputs import written
from probes.errors import SettingsError

ENDINGS = (".png", ".svg")
HUES = ("#2f6f9f", "#b3572b", "#4a7d3c", "#7b4f9d", "#a3384f", "#3b7f7a")

_GREY = "#77756f"
_FONT = "DejaVu Sans"
_WIDTH_IN = 8.0
_ROW_IN = 0.26
_FRAME_IN = 0.95
"""Of a panel: title, axis and what it measures."""
_LEAST_IN = 1.9
_SIZE = 9
_DPI = 160
_BINS = 20
_TITLE_CHARS, _NAME_CHARS, _NOTE_CHARS = 70, 36, 28
_LOOK: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sae-interpret",
    "font.family": _FONT,
    "font.size": _SIZE,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class PlotPoint:
    """A figure with its interval; None where it has none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PlotRow:
    """A line of an interval plot."""

    name: str
    point: PlotPoint | None
    """None where it was not measured: `note` then says why."""
    note: str = ""
    """Stands at the right, such as `n = 412`."""
    is_main: bool = False
    """Drawn in colour; the others, such as controls, in grey."""


@dataclass(frozen=True)
class PlotValues:
    """Some values under one name, those that were not measured left out."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True)
class IntervalPanel:
    """Rows that share an axis."""

    title: str
    rows: Sequence[PlotRow]
    reference: float | None = None
    """Where a line is drawn, such as chance."""
    spread: Sequence[PlotValues] = ()
    """Drawn beside the rows as histograms with common bins: the first filled, the others as outlines."""


@dataclass(frozen=True)
class Curve:
    """A measure over a setting."""

    name: str
    xs: Sequence[float]
    points: Sequence[PlotPoint | None]
    """One for each x; None where it was not measured, which is a gap."""


@dataclass(frozen=True)
class CurvePanel:
    """Curves over one setting."""

    title: str
    lines: Sequence[Curve]
    x_name: str
    y_name: str
    diagonal: bool = False
    """Whether the line is drawn on which y is x."""


@rc_context(_LOOK)
def interval_rows(panels: Sequence[IntervalPanel], title: str = "") -> Figure:
    """A dot with its interval for every row, panel below panel, histograms beside those that have a spread."""
    heights = [max(len(panel.rows) * _ROW_IN, _LEAST_IN * bool(panel.spread)) + _FRAME_IN for panel in panels]
    has_spread = any(panel.spread for panel in panels)
    figure = _figure(sum(heights), title)
    if not panels:
        figure.text(0.5, 0.5, "nothing was measured", ha="center", color=_GREY)
        return figure
    widths = [3, 2] if has_spread else [1]
    grid = figure.add_gridspec(len(panels), len(widths), height_ratios=heights, width_ratios=widths)
    for place, panel in enumerate(panels):
        _draw_rows(figure.add_subplot(grid[place, 0]), panel)
        if panel.spread:
            _draw_spread(figure.add_subplot(grid[place, 1]), panel.spread)
    return figure


@rc_context(_LOOK)
def paired_scatter(xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str, title: str = "") -> Figure:
    """One dot per pair; above the diagonal y is ahead."""
    wins = sum(y > x for x, y in zip(xs, ys, strict=True))
    ties = sum(y == x for x, y in zip(xs, ys, strict=True))
    figure = _figure(_WIDTH_IN * 0.8, title)
    axes = figure.add_subplot()
    both = [*xs, *ys] or [0.0, 1.0]
    pad = (max(both) - min(both)) * 0.04 or 0.5
    ends = (min(both) - pad, max(both) + pad)
    axes.plot(ends, ends, color=_GREY, linewidth=1)
    axes.scatter(xs, ys, s=16, color=HUES[0], alpha=0.55, linewidths=0)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    _write(axes, x_name, y_name, f"{wins:,} of {len(xs):,} above the line, {ties:,} on it")
    return figure


@rc_context(_LOOK)
def curves(lines: Sequence[Curve], x_name: str, y_name: str, title: str = "") -> Figure:
    """Measures over a setting, each point with its interval."""
    figure = _figure(_WIDTH_IN * 0.55, title)
    axes = figure.add_subplot()
    drawn = {line.name: _draw_curve(axes, line, HUES[place % len(HUES)]) for place, line in enumerate(lines)}
    _write(axes, x_name, y_name)
    _legend(axes, drawn, loc="best")
    return figure


@rc_context(_LOOK)
def curve_panels(panels: Sequence[CurvePanel], title: str = "") -> Figure:
    """Panels of curves of the same names side by side, both axes from 0 to 1."""
    figure = _figure(_WIDTH_IN * 0.5, title)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        if panel.diagonal:
            axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":")
        drawn = {line.name: _draw_curve(axes, line, HUES[hue % len(HUES)]) for hue, line in enumerate(panel.lines)}
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _write(axes, panel.x_name, panel.y_name, panel.title)
        if place == len(panels):
            _legend(axes, drawn, loc="upper right")
    return figure


def check_picture(path: Path) -> None:
    """Raises SettingsError where the ending of `path` names no form of pictures, so that no work is done in vain."""
    if path.suffix.lower() not in ENDINGS:
        raise SettingsError(f"No picture can be written to {path}: its name ends in none of {', '.join(ENDINGS)}.")


def save(figure: Figure, path: Path) -> None:
    """Writes the picture; the same figure gives the same bytes. Raises SettingsError, OutputError."""
    check_picture(path)
    with written(path) as file:
        file.write(image(figure, path.suffix.lower().removeprefix(".")))


@rc_context(_LOOK)
def image(figure: Figure, form: str) -> bytes:
    """The figure as `png` or `svg`; texts of an SVG stay texts."""
    data = BytesIO()
    figure.savefig(data, format=form, dpi=_DPI, metadata={"Date": None} if form == "svg" else {"Software": None})
    return data.getvalue()


def _figure(height_in: float, title: str) -> Figure:
    figure = Figure(figsize=(_WIDTH_IN, max(height_in, _LEAST_IN)), layout="constrained")
    if title:
        figure.suptitle(_short(title, _TITLE_CHARS), fontsize=_SIZE + 2)
    return figure


def _draw_rows(axes: Axes, panel: IntervalPanel) -> None:
    names = []
    for place, row in enumerate(panel.rows):
        names.append(_short(row.name, _NAME_CHARS))
        hue = HUES[0] if row.is_main else _GREY
        if row.point is not None:
            low, high = row.point.low, row.point.high
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=hue, linewidth=2.2, alpha=0.6, solid_capstyle="butt")
            axes.plot([row.point.value], [place], "o", color=hue, markersize=5.5)
        note = _short(row.note, _NOTE_CHARS)
        axes.text(1.01, place, note, transform=axes.get_yaxis_transform(), va="center", color=_GREY)
    if panel.reference is not None:
        axes.axvline(panel.reference, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color="#e4e2dc", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(left=False)
    _write(axes, "", "", panel.title)


def _draw_spread(axes: Axes, spread: Sequence[PlotValues]) -> None:
    together = [value for group in spread for value in group.values]
    bins = np.histogram_bin_edges(together or [0.0, 1.0], _BINS)
    drawn: dict[str, Artist] = {}
    for place, group in enumerate(spread):
        counts, _ = np.histogram(group.values, bins)
        look: dict[str, Any] = {"fill": True, "alpha": 0.45} if place == 0 else {"linewidth": 1.3}
        drawn[group.name] = axes.stairs(counts, bins, color=HUES[place % len(HUES)], **look)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _write(axes, "", "features")
    _legend(axes, drawn, loc="lower left", bbox_to_anchor=(0, 1))


def _draw_curve(axes: Axes, line: Curve, hue: str) -> Artist:
    for x, point in zip(line.xs, line.points, strict=True):
        if point is not None and point.low is not None and point.high is not None:
            axes.plot([x, x], [point.low, point.high], color=hue, linewidth=2.2, alpha=0.4, solid_capstyle="butt")
    values = [float("nan") if point is None else point.value for point in line.points]
    return axes.plot(line.xs, values, "o-", color=hue, markersize=4, linewidth=1.5)[0]


def _write(axes: Axes, x_name: str, y_name: str, title: str = "") -> None:
    axes.set_xlabel(_short(x_name, _TITLE_CHARS))
    axes.set_ylabel(_short(y_name, _NAME_CHARS))
    axes.set_title(_short(title, _TITLE_CHARS), loc="left", fontsize=_SIZE)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes, drawn: Mapping[str, Artist], **place: Any) -> None:
    if drawn:
        names = [_short(name, _NAME_CHARS) for name in drawn]
        axes.legend([*drawn.values()], names, frameon=False, fontsize=_SIZE - 1, **place)


def _short(text: str, most: int) -> str:
    shown = spelt(text[: most + 1], _FONT)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
