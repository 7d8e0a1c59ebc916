"""A definition tree as a PNG: the layout of its SVG, painted by matplotlib with a font that comes with it.

Characters that the font lacks are escaped, so that the picture is the same on every machine.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, PathPatch, Rectangle
from matplotlib.path import Path

from agent.drawing.layout import FONT_PX, GREY, INK, MARGIN_PX, PAPER, SMALL_PX, SWATCH_PX, Layout, PlacedPhrase, layout
from agent.evidence.branches import Trim
from agent.evidence.glyphs import spelt
from agent.evidence.wording import percent
from probes.evidence import Tree

_FONT = "DejaVu Sans Mono"
_UNITS_PER_INCH = 72
"""So that a font's points are the layout's units."""
_PIXELS = 2
"""Per unit of the layout, for screens of today."""
_MAX_PIXELS = 16_000
"""Along one side; a larger picture is made coarser."""


def tree_png(tree: Tree, trim: Trim) -> bytes:
    """Draws the picture of `tree_svg` as a PNG file."""
    picture = layout(tree, trim, _spelt)
    figure = Figure(figsize=(picture.width / _UNITS_PER_INCH, picture.height / _UNITS_PER_INCH), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    for patch in _patches(picture):
        axes.add_patch(patch)
    for text in _texts(picture):
        axes.text(text.x, text.y, text.words, color=text.hue, fontsize=text.size, family=_FONT, parse_math=False)
    pixels = min(_PIXELS, _MAX_PIXELS / max(picture.width, picture.height))
    image = BytesIO()
    figure.savefig(image, format="png", dpi=_UNITS_PER_INCH * pixels)
    return image.getvalue()


class _Text(NamedTuple):
    x: float
    y: float
    words: str
    hue: str = GREY
    size: float = SMALL_PX


def _patches(picture: Layout) -> Iterator[Patch]:
    for place in picture.places:
        yield PathPatch(
            _curve(picture, place), fill=False, edgecolor=place.hue, linewidth=place.width, alpha=0.8, capstyle="round"
        )
    yield Circle((MARGIN_PX, picture.root_y), 4.5, color=INK)
    for swatch in picture.swatches:
        yield Rectangle((swatch.x, picture.legend_y - 8), SWATCH_PX, 8, color=swatch.hue, linewidth=0)


def _curve(picture: Layout, place: PlacedPhrase) -> Path:
    (x0, y0), x1, y1 = picture.start_of(place), place.x - 4, place.y
    bend = (x1 - x0) * 0.5
    return Path(
        [(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    )


def _texts(picture: Layout) -> Iterator[_Text]:
    yield _Text(MARGIN_PX, 28, picture.title, INK, FONT_PX)
    yield _Text(MARGIN_PX, 45, picture.note)
    for place in picture.places:
        baseline = place.y + FONT_PX * 0.33
        yield _Text(place.x, baseline, place.words, place.ink, FONT_PX)
        yield _Text(place.mark_x, baseline, percent(place.branch.probability))
    for swatch in picture.swatches:
        yield _Text(swatch.x, picture.legend_y + SMALL_PX, swatch.mark, size=7)
    if picture.swatches:
        yield _Text(picture.swatches[-1].x + SWATCH_PX + 8, picture.legend_y, picture.legend)


def _spelt(text: str) -> str:
    return spelt(text, _FONT)
