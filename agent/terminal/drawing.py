"""A definition tree as a picture for a file: SVG, drawn here, or DOT for graphviz.

Knows nothing of terminals, files or the log.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from rich.cells import cell_len

from agent.evidence.branches import Branch, Drawn, Trim, drawn
from agent.evidence.printable import printable
from agent.evidence.wording import percent, phrase_words, prompt_words, vector_words
from probes.evidence import Tree

_ROW_PX = 19
_GAP_PX = 34
_MARGIN_PX = 24
_HEAD_PX = 64
_FONT_PX = 13
_CELL_PX = _FONT_PX * 0.602
_SMALL_PX = 9.5
_SMALL_CELL_PX = _SMALL_PX * 0.602
"""0.602 em: the width of one cell in the common monospaced fonts (DejaVu, Menlo, Consolas differ by 2 %)."""
_FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"
_THINNEST_PX, _THICKEST_PX = 0.8, 9.0
_HUES = ("#2f6f9f", "#b3572b", "#4a7d3c", "#7b4f9d", "#a3384f", "#3b7f7a")
"""One for each child of the root, in order; they return after the sixth."""


@dataclass(frozen=True)
class _Place:
    branch: Branch
    parent: int
    hue: str
    x: float
    y: float

    @property
    def words(self) -> str:
        return phrase_words(self.branch.text)

    @property
    def mark_x(self) -> float:
        """Where the small probability stands, after the words."""
        return self.x + cell_len(self.words) * _CELL_PX + 6

    @property
    def right(self) -> float:
        return self.mark_x + len(percent(self.branch.probability)) * _SMALL_CELL_PX + 7


def tree_svg(tree: Tree, trim: Trim) -> str:
    """A left-to-right dendrogram: phrases on curved edges whose width grows with the log of cumulative probability."""
    picture = drawn(tree, trim)
    places = _places(picture)
    floor = min((place.branch.probability for place in places), default=1.0)
    title, note = _captions(tree, picture)
    rows = sum(not place.branch.children for place in places)
    text_px = max(cell_len(title) * _CELL_PX, cell_len(note) * _SMALL_CELL_PX) + 2 * _MARGIN_PX
    width = math.ceil(max([text_px, *(place.right + _MARGIN_PX for place in places)]))
    height = math.ceil(_HEAD_PX + rows * _ROW_PX + _MARGIN_PX)
    root_y = _middle([place.y for place in places if place.parent < 0])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="{_FONT}" font-size="{_FONT_PX}" xml:space="preserve">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#fffefb"/>',
        f'<text x="{_MARGIN_PX}" y="28" fill="#222">{escape(title)}</text>',
        f'<text x="{_MARGIN_PX}" y="45" fill="#777" font-size="{_SMALL_PX}">{escape(note)}</text>',
        *_edges(places, root_y, floor),
        f'<circle cx="{_MARGIN_PX}" cy="{root_y:.1f}" r="4.5" fill="#222"/>',
        *_labels(places),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def tree_dot(tree: Tree, trim: Trim) -> str:
    """The same picture as a graph in graphviz's language."""
    picture = drawn(tree, trim)
    places = _places(picture)
    floor = min((place.branch.probability for place in places), default=1.0)
    title, _ = _captions(tree, picture)
    lines = [
        "digraph definition_tree {",
        f"  graph [rankdir=LR, label={_quoted(title)}, labelloc=t];",
        '  node [shape=plaintext, fontname="monospace"];',
        "  edge [arrowhead=none];",
        '  root [shape=point, label=""];',
    ]
    for index, place in enumerate(places):
        label = _quoted(f"{place.words}  {percent(place.branch.probability)}")
        parent = f"n{place.parent}" if place.parent >= 0 else "root"
        look = f'penwidth={_edge_px(place.branch.probability, floor):.2f}, color="{place.hue}"'
        lines.append(f"  n{index} [label={label}];")
        lines.append(f"  {parent} -> n{index} [{look}];")
    return "\n".join([*lines, "}"]) + "\n"


def _captions(tree: Tree, picture: Drawn) -> tuple[str, str]:
    title = f"feature {tree.feature}   {prompt_words(tree)}"
    share = f"{picture.n_drawn} of {picture.n_nodes} nodes drawn"
    cutoff = f"cutoff {tree.settings.tree.cutoff:g}, top {tree.settings.tree.top_k}"
    return title, f"{vector_words(tree.settings.vector)}; {cutoff}; {share}"


def _places(picture: Drawn) -> list[_Place]:
    """Every branch with its place: leaves on rows of their own from top to bottom, a parent midway of its children."""
    walked = list(picture.walk())
    parents = _parents([depth for _, depth in walked])
    ys = _rows([branch for branch, _ in walked], parents)
    places: list[_Place] = []
    n_roots = 0
    for (branch, _), parent, y in zip(walked, parents, ys, strict=True):
        if parent < 0:
            hue, x = _HUES[n_roots % len(_HUES)], float(_MARGIN_PX + _GAP_PX)
            n_roots += 1
        else:
            hue, x = places[parent].hue, places[parent].right + _GAP_PX
        places.append(_Place(branch, parent, hue, x, y))
    return places


def _parents(depths: Sequence[int]) -> list[int]:
    """The index of each branch's parent in drawing order, -1 for the root's children."""
    last_at = {0: -1}
    parents = []
    for index, depth in enumerate(depths):
        parents.append(last_at[depth - 1])
        last_at[depth] = index
    return parents


def _rows(branches: Sequence[Branch], parents: Sequence[int]) -> list[float]:
    ys = [0.0] * len(branches)
    row = sum(not branch.children for branch in branches)
    below: dict[int, list[float]] = {}
    for index in reversed(range(len(branches))):
        if branches[index].children:
            ys[index] = _middle(below.pop(index))
        else:
            row -= 1
            ys[index] = _HEAD_PX + (row + 0.5) * _ROW_PX
        below.setdefault(parents[index], []).append(ys[index])
    return ys


def _middle(ys: Sequence[float]) -> float:
    return (min(ys) + max(ys)) / 2 if ys else float(_HEAD_PX)


def _edges(places: Sequence[_Place], root_y: float, floor: float) -> Iterator[str]:
    for place in places:
        above = places[place.parent] if place.parent >= 0 else None
        x0, y0 = (above.right, above.y) if above else (float(_MARGIN_PX), root_y)
        x1, y1 = place.x - 4, place.y
        bend = (x1 - x0) * 0.5
        path = f"M{x0:.1f} {y0:.1f}C{x0 + bend:.1f} {y0:.1f} {x1 - bend:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        width = _edge_px(place.branch.probability, floor)
        yield (
            f'<path d="{path}" fill="none" stroke="{place.hue}" stroke-width="{width:.2f}" stroke-opacity="0.55"'
            ' stroke-linecap="round"/>'
        )


def _edge_px(probability: float, floor: float) -> float:
    """Stroke width: linear in log cumulative probability, from the least drawn probability up to 1."""
    share = 1.0 if floor >= 1 else 1 - math.log(probability) / math.log(floor)
    return _THINNEST_PX + (_THICKEST_PX - _THINNEST_PX) * share


def _labels(places: Sequence[_Place]) -> Iterator[str]:
    for place in places:
        full = f"{printable(place.branch.text)}   {place.branch.probability:.3g}"
        baseline = place.y + _FONT_PX * 0.33
        yield (
            f'<g><title>{escape(full)}</title><text x="{place.x:.1f}" y="{baseline:.1f}" fill="#222">'
            f'{escape(place.words)}</text><text x="{place.mark_x:.1f}" y="{baseline:.1f}" fill="#888"'
            f' font-size="{_SMALL_PX}">{percent(place.branch.probability)}</text></g>'
        )


def _quoted(text: str) -> str:
    """A DOT string: the text comes out printable, so quotes and backslashes are all there is to escape."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
