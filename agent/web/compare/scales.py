"""A measure over the scale: a panel for each combination of the other settings, all on the same two axes.

Lengths are in the units of the view box that the template draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.web.axis import Axis, axis_over
from agent.web.compare.comparison import Comparison
from eval.compare.grid import names_of
from eval.compare.verdict import estimate_words
from eval.metrics import Estimate
from probes.settings import AUTO, ProbeSettings

WIDTH, HEIGHT = 190, 130
AUTO_AT = WIDTH + 26
"""Where the dot of the scale that is found for each feature stands."""


@dataclass(frozen=True)
class Dot:
    """A setting's mean with its interval."""

    place: int
    cx: float
    cy: float
    top: float | None
    bottom: float | None
    words: str


@dataclass(frozen=True)
class ScalePanel:
    """The panel of one combination of the other settings."""

    name: str
    path: str
    """Points of an SVG polyline."""
    band: str
    """Points of a polygon over the intervals; empty if one is missing."""
    dots: Sequence[Dot]
    auto: Dot | None


@dataclass(frozen=True)
class ScalePlot:
    """The panels with their common axes."""

    panels: Sequence[ScalePanel]
    across: Sequence[tuple[float, str]]
    """Positions of the scales with their figures; without a figure if they are too close."""
    up: Axis
    has_auto: bool


def scales(found: Comparison, measure: str, common: bool) -> ScalePlot | None:
    """Makes the panels; None if no combination was measured at three scales or more."""
    families: dict[ProbeSettings, dict[float | None, int]] = {}
    for place, setting in enumerate(found.settings):
        scale = setting.vector.distance
        if place in found.through and (scale is not None or setting.vector.scale == AUTO):
            rest = setting.model_copy(update={"vector": setting.vector.model_copy(update={"scale": None})})
            families.setdefault(rest, {})[scale] = place
    families = {rest: places for rest, places in families.items() if len(places.keys() - {None}) > 2}
    estimates = {place: found.mean(place, measure, common) for places in families.values() for place in places.values()}
    ends = [end for one in estimates.values() for end in (one.value, one.low, one.high) if end is not None]
    if not families or not ends:
        return None
    up = axis_over(ends, HEIGHT, 5)
    every = sorted({scale for places in families.values() for scale in places if scale is not None})
    names = names_of([*families])
    panels = [_panel(names[rest], places, estimates, every, up) for rest, places in families.items()]
    return ScalePlot(panels, _marks(every), up, any(panel.auto for panel in panels))


def _panel(
    name: str, places: Mapping[float | None, int], estimates: Mapping[int, Estimate], every: Sequence[float], up: Axis
) -> ScalePanel:
    numbers = sorted(scale for scale in places if scale is not None)
    dots = [_dot(places[scale], _across(scale, every), f"scale {scale:.4g}", estimates, up) for scale in numbers]
    shown = [dot for dot in dots if dot is not None]
    auto = _dot(places[None], AUTO_AT, "the scale chosen for each feature", estimates, up) if None in places else None
    path = " ".join(f"{dot.cx},{dot.cy}" for dot in shown)
    rim = [(dot.cx, dot.top) for dot in shown] + [(dot.cx, dot.bottom) for dot in reversed(shown)]
    band = "" if any(y is None for _, y in rim) else " ".join(f"{x},{y}" for x, y in rim)
    return ScalePanel(name, path, band, shown, auto)


def _dot(place: int, cx: float, scale: str, estimates: Mapping[int, Estimate], up: Axis) -> Dot | None:
    one = estimates[place]
    if one.value is None:
        return None
    top, bottom = (None if end is None else up.up(end) for end in (one.high, one.low))
    return Dot(place, cx, up.up(one.value), top, bottom, f"{scale}: {estimate_words(one)}")


def _across(scale: float, every: Sequence[float]) -> float:
    """Returns a scale's position on a logarithmic axis: ratios of distance matter."""
    low, high = math.log(every[0]), math.log(every[-1])
    return round(WIDTH * (math.log(scale) - low) / (high - low), 1)


def _marks(every: Sequence[float]) -> list[tuple[float, str]]:
    marks: list[tuple[float, str]] = []
    for scale in every:
        at = _across(scale, every)
        if not marks or at - marks[-1][0] >= 30:
            marks.append((at, f"{scale:.3g}"))
    return marks
