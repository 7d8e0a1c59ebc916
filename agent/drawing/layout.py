"""Lays out a definition tree: places of nodes and edges, widths and colours.

SVG, DOT and PNG all draw this layout.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from agent.evidence.badge import tree_badge
from agent.evidence.branches import Branch, Trim, TrimmedTree, drawn
from agent.evidence.closing import until_quote
from agent.evidence.wording import percent, phrase_words, prompt_words, tree_words
from probes.evidence import Tree

ROW_PX = 19
GAP_PX = 34
MARGIN_PX = 24
HEAD_PX = 64
FONT_PX = 13
SMALL_PX = 9.5
CELL_EM = 0.602
"""The width of one cell in the common monospaced fonts (DejaVu, Menlo, Consolas differ by 2 %)."""
SWATCH_PX = 8
PAPER, INK, GREY = "#fffefb", "#222222", "#777777"

_CELL_PX, _SMALL_CELL_PX = FONT_PX * CELL_EM, SMALL_PX * CELL_EM
_THINNEST_PX, _THICKEST_PX = 0.8, 9.0
_HUES = ("#2f6f9f", "#b3572b", "#4a7d3c", "#7b4f9d", "#a3384f", "#3b7f7a")
"""One for each child of the root, in order; they return after the sixth."""
MAX_GAIN = 6.0
"""Nats at which the scale of colour ends, on both sides."""
_BEND = 0.7
"""Exponent of the scale: small gains are told apart too."""
_RAMP = ("#8c4a12", "#c79a5b", "#b9bdc2", "#5f9bd8", "#0b4a93")
"""From less probable than after a random direction, over no difference, to more, evenly spaced; brown and blue also
tell apart for the colour-blind. The review pages have the same ends."""
_TICKS = (-6, -2, 0, 2, 6)
_N_SWATCHES = 31
_LEGEND = "nats that the words add relative to random directions; pale: not compared"
_UNKNOWN_HUE = "#d0ccc4"
_TOLD_ABOVE = 1.0
"""Nats from which words are written in their colour."""


@dataclass(frozen=True)
class PlacedPhrase:
    """A phrase with its position and the edge that leads to it."""

    branch: Branch
    parent: int
    """Index of its parent in the layout, -1 for children of the root."""
    hue: str
    width: float
    """Width of the edge: linear in log cumulative probability, from the least drawn probability up to 1."""
    words: str
    x: float
    y: float
    gain: float | None
    """Nats that the phrase adds to its parent's lift."""

    @property
    def ink(self) -> str:
        """Returns the colour of the words: tinted if the phrase gains or loses much."""
        told = self.gain is not None and abs(self.gain) >= _TOLD_ABOVE
        return _mixed(INK, self.hue, 0.75) if told else INK

    @property
    def mark_x(self) -> float:
        """Returns the x of the small probability, after the words."""
        return self.x + cell_len(self.words) * _CELL_PX + 6

    @property
    def right(self) -> float:
        """Returns the x at which edges leave."""
        return self.mark_x + len(percent(self.branch.probability)) * _SMALL_CELL_PX + 7


@dataclass(frozen=True)
class Swatch:
    """One step of the legend of colours."""

    hue: str
    x: float
    mark: str
    """The gain that it stands for; empty if it is not written."""


@dataclass(frozen=True)
class Layout:
    """A tree ready to be drawn; lengths are pixels from the upper left corner."""

    title: str
    note: str
    width: int
    height: int
    root_y: float
    places: tuple[PlacedPhrase, ...]
    """Parents first."""
    swatches: tuple[Swatch, ...]
    """The legend; empty if colours only tell branches apart."""
    legend: str
    legend_y: float

    def start_of(self, place: PlacedPhrase) -> tuple[float, float]:
        """Returns the point at which the edge to `place` begins."""
        if place.parent < 0:
            return float(MARGIN_PX), self.root_y
        above = self.places[place.parent]
        return above.right, above.y


def layout(tree: Tree, trim: Trim, spelt: Callable[[str], str] = str) -> Layout:
    """Lays out a tree: leaves on rows of their own from top to bottom, a parent midway between its children.

    `spelt` gives printable text as it will be written, where not every character can be.
    """
    tree = until_quote(tree)
    picture = drawn(tree, trim)
    has_lifts = tree.contrast is not None
    places = _places(picture, has_lifts, spelt)
    title, note = map(spelt, _captions(tree, picture))
    rows = sum(not place.branch.children for place in places)
    bottom = HEAD_PX + rows * ROW_PX
    swatches = _swatches() if has_lifts else ()
    legend = _LEGEND if has_lifts else ""
    texts = [cell_len(title) * _CELL_PX, cell_len(note) * _SMALL_CELL_PX]
    texts += [(len(swatches) + 1) * SWATCH_PX + len(legend) * _SMALL_CELL_PX]
    return Layout(
        title=title,
        note=note,
        width=math.ceil(max([max(texts) + 2 * MARGIN_PX, *(place.right + MARGIN_PX for place in places)])),
        height=math.ceil(bottom + MARGIN_PX * (2 if has_lifts else 1)),
        root_y=_middle([place.y for place in places if place.parent < 0]),
        places=tuple(places),
        swatches=swatches,
        legend=legend,
        legend_y=bottom + MARGIN_PX,
    )


def gain_hue(gain: float | None) -> str:
    """Returns the colour of a gain in nats, on a continuous scale; pale if it is unknown."""
    if gain is None:
        return _UNKNOWN_HUE
    place = (1 + _share(gain)) * (len(_RAMP) - 1) / 2
    first = min(int(place), len(_RAMP) - 2)
    return _mixed(_RAMP[first], _RAMP[first + 1], place - first)


def _share(gain: float) -> float:
    """Returns a gain's place on the scale of colour, from -1 to 1."""
    return math.copysign(min(abs(gain) / MAX_GAIN, 1.0) ** _BEND, gain)


def _mixed(one: str, other: str, share: float) -> str:
    """Mixes two colours, `share` of the way to the second."""
    pairs = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(low + (high - low) * share):02x}" for low, high in pairs)


def _captions(tree: Tree, picture: TrimmedTree) -> tuple[str, str]:
    title = f"feature {tree.feature}   {prompt_words(tree)}"
    share = f"{picture.n_drawn} of {picture.n_nodes} nodes drawn"
    cutoff = f"cutoff {tree.settings.tree.cutoff:g}, top {tree.settings.tree.top_k}"
    notes = [tree_words(tree.settings), cutoff, share]
    if tree.contrast is not None and tree.contrast.failed:
        notes.append(tree_badge(tree.contrast).brief)
    return title, "; ".join(notes)


def _swatches() -> tuple[Swatch, ...]:
    middle = (_N_SWATCHES - 1) / 2
    marks = {round(middle * (1 + _share(tick))): f"{tick:+d}" if tick else "0" for tick in _TICKS}
    shares = [place / middle - 1 for place in range(_N_SWATCHES)]
    gains = [math.copysign(abs(share) ** (1 / _BEND) * MAX_GAIN, share) for share in shares]
    return tuple(
        Swatch(gain_hue(gain), MARGIN_PX + place * SWATCH_PX, marks.get(place, "")) for place, gain in enumerate(gains)
    )


def _places(picture: TrimmedTree, has_lifts: bool, spelt: Callable[[str], str]) -> list[PlacedPhrase]:
    walked = list(picture.walk())
    parents = _parents([depth for _, depth in walked])
    ys = _rows([branch for branch, _ in walked], parents)
    floor = min((branch.probability for branch, _ in walked), default=1.0)
    places: list[PlacedPhrase] = []
    n_roots = 0
    for (branch, _), parent, y in zip(walked, parents, ys, strict=True):
        if parent < 0:
            hue, x = _HUES[n_roots % len(_HUES)], float(MARGIN_PX + GAP_PX)
            n_roots += 1
        else:
            hue, x = places[parent].hue, places[parent].right + GAP_PX
        gain = _gain(branch, walked[parent][0] if parent >= 0 else None)
        width, words = _edge_px(branch.probability, floor), spelt(phrase_words(branch.text))
        places.append(PlacedPhrase(branch, parent, gain_hue(gain) if has_lifts else hue, width, words, x, y, gain))
    return places


def _gain(branch: Branch, above: Branch | None) -> float | None:
    """Returns a branch's gain over its parent's lift; the root's own lift is 0."""
    before = 0.0 if above is None else above.lift
    return None if branch.lift is None or before is None else branch.lift - before


def _parents(depths: Sequence[int]) -> list[int]:
    """Returns the index of each branch's parent in drawing order, -1 for the root's children."""
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
            ys[index] = HEAD_PX + (row + 0.5) * ROW_PX
        below.setdefault(parents[index], []).append(ys[index])
    return ys


def _middle(ys: Sequence[float]) -> float:
    return (min(ys) + max(ys)) / 2 if ys else float(HEAD_PX)


def _edge_px(probability: float, floor: float) -> float:
    share = 1.0 if floor >= 1 else 1 - math.log(probability) / math.log(floor)
    return _THINNEST_PX + (_THICKEST_PX - _THINNEST_PX) * share
