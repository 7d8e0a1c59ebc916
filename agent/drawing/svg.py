"""A definition tree as a picture in text form: SVG, or DOT for graphviz.

Positions are decided in `agent.drawing.layout`.
"""

from collections.abc import Iterator
from html import escape

from agent.drawing.layout import FONT_PX, GREY, INK, MARGIN_PX, PAPER, SMALL_PX, SWATCH_PX, Layout, PlacedPhrase, layout
from agent.evidence.branches import Trim
from agent.evidence.printable import printable
from agent.evidence.wording import percent
from probes.evidence import Tree

_FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"
_LEGEND_PX = 8
_TITLE_CHARS = 2000


def tree_svg(tree: Tree, trim: Trim) -> str:
    """Draws a left-to-right dendrogram: phrases on curved edges that widen with the log of cumulative probability."""
    picture = layout(tree, trim)
    width, height = picture.width, picture.height
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="{_FONT}" font-size="{FONT_PX}" xml:space="preserve">',
        f"<title>{escape(picture.title)}</title>",
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
        f'<text x="{MARGIN_PX}" y="28" fill="{INK}">{escape(picture.title)}</text>',
        f'<text x="{MARGIN_PX}" y="45" fill="{GREY}" font-size="{SMALL_PX}">{escape(picture.note)}</text>',
        *_edges(picture),
        f'<circle cx="{MARGIN_PX}" cy="{picture.root_y:.1f}" r="4.5" fill="{INK}"/>',
        *_labels(picture),
        *_legend(picture),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def tree_dot(tree: Tree, trim: Trim) -> str:
    """Writes the same picture as a graph in graphviz's language."""
    picture = layout(tree, trim)
    lines = [
        "digraph definition_tree {",
        f"  graph [rankdir=LR, label={_quoted(picture.title)}, labelloc=t];",
        '  node [shape=plaintext, fontname="monospace"];',
        "  edge [arrowhead=none];",
        '  root [shape=point, label=""];',
    ]
    for index, place in enumerate(picture.places):
        label = _quoted(f"{place.words}  {percent(place.branch.probability)}")
        parent = f"n{place.parent}" if place.parent >= 0 else "root"
        lines.append(f"  n{index} [label={label}];")
        lines.append(f'  {parent} -> n{index} [penwidth={place.width:.2f}, color="{place.hue}"];')
    if picture.legend:
        bounds = "  ".join(f"{swatch.hue} {swatch.mark}" for swatch in picture.swatches if swatch.mark)
        lines.append(f"  legend [fontsize=9, label={_quoted(f'{picture.legend}: {bounds}')}];")
    return "\n".join([*lines, "}"]) + "\n"


def _edges(picture: Layout) -> Iterator[str]:
    for place in picture.places:
        (x0, y0), x1, y1 = picture.start_of(place), place.x - 4, place.y
        bend = (x1 - x0) * 0.5
        path = f"M{x0:.1f} {y0:.1f}C{x0 + bend:.1f} {y0:.1f} {x1 - bend:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        yield (
            f'<path d="{path}" fill="none" stroke="{place.hue}" stroke-width="{place.width:.2f}" stroke-opacity="0.8"'
            ' stroke-linecap="round"/>'
        )


def _labels(picture: Layout) -> Iterator[str]:
    for place in picture.places:
        baseline = place.y + FONT_PX * 0.33
        yield (
            f'<g><title>{escape(_full(place))}</title><text x="{place.x:.1f}" y="{baseline:.1f}" fill="{place.ink}">'
            f'{escape(place.words)}</text><text x="{place.mark_x:.1f}" y="{baseline:.1f}" fill="{GREY}"'
            f' font-size="{SMALL_PX}">{percent(place.branch.probability)}</text></g>'
        )


def _full(place: PlacedPhrase) -> str:
    """Returns a phrase's tooltip: all of its text, up to a limit, and its figures."""
    branch = place.branch
    text = printable(branch.text[:_TITLE_CHARS]) + ("…" if len(branch.text) > _TITLE_CHARS else "")
    lift = "" if branch.lift is None else f"   lift {branch.lift:+.2f}"
    lift += "" if place.gain is None else f", of which {place.gain:+.2f} here"
    return f"{text}   {branch.probability:.3g}{lift}"


def _legend(picture: Layout) -> Iterator[str]:
    y, small = picture.legend_y, f'y="{picture.legend_y:.1f}" fill="{GREY}" font-size="{SMALL_PX}"'
    for swatch in picture.swatches:
        box = f'x="{swatch.x}" y="{y - _LEGEND_PX:.1f}" width="{SWATCH_PX}" height="{_LEGEND_PX}"'
        yield f'<rect {box} fill="{swatch.hue}"/>'
        if swatch.mark:
            place = f'x="{swatch.x + SWATCH_PX / 2}" y="{y + SMALL_PX:.1f}" text-anchor="middle"'
            yield f'<text {place} fill="{GREY}" font-size="7">{swatch.mark}</text>'
    if picture.swatches:
        yield f'<text x="{picture.swatches[-1].x + SWATCH_PX + 8}" {small}>{escape(picture.legend)}</text>'


def _quoted(text: str) -> str:
    """Quotes a DOT string: the text is printable, so only quotes and backslashes need escapes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
