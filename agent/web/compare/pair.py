"""Two settings against each other: a verdict by every measure, and a scatter of their features.

Lengths are in the units of the view boxes that the template draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agent.web.axis import Axis, axis_over
from agent.web.compare.comparison import SEED, Comparison
from eval.compare.measures import REPORTED, UNITS
from eval.compare.report import TIE, PairedComparison, Values, against, in_order
from eval.compare.verdict import estimate_words, figure, interval, versus_words
from eval.metrics import Estimate, mean

WIDTH, HEIGHT = 560, 440
"""Of the scatter."""
FOREST = 320
"""Width of the verdicts' axis."""
MAX_POINTS = 2000
MAX_LISTED = 11
"""Features listed on which two settings differ most, either way."""
_APART = ("divergence",)
"""Measures that are no shares: their differences have no place on the verdicts' axis."""

Side = Literal["ahead", "equal", "behind"]


@dataclass(frozen=True)
class PlottedEstimate:
    """An estimate on an axis; an end is None if the estimate has none."""

    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MeasureVerdict:
    """The verdict of one measure on two settings."""

    measure: str
    unit: str
    versus: PairedComparison
    difference: str
    sentence: str
    side: Side | None
    """The vertical axis's setting against the other; None if the features are too few for a verdict."""
    drawn: PlottedEstimate | None
    """The drawn estimate; None if the measure has no place on the axis."""


@dataclass(frozen=True)
class MeasureVerdicts:
    """The verdicts by every common measure, on one axis."""

    lines: Sequence[MeasureVerdict]
    axis: Axis

    def of(self, measure: str) -> MeasureVerdict | None:
        """Returns the verdict by that measure."""
        return next((line for line in self.lines if line.measure == measure), None)


@dataclass(frozen=True)
class ScatterPoint:
    """A feature in the scatter plot."""

    feature: int
    cx: float
    cy: float
    side: Side
    across: str
    up: str


@dataclass(frozen=True)
class Difference:
    """A feature with a large difference; its bar begins at `start` and is `width` wide, of 100; 50 is no difference."""

    feature: int
    across: str
    up: str
    difference: str
    start: float
    width: float
    side: Side


@dataclass(frozen=True)
class Scatter:
    """A scatter plot of two settings, one on each axis; on the diagonal they are equal."""

    points: Sequence[ScatterPoint]
    n: int
    """Number of features with both values; some points are left out if there are many."""
    across: Axis
    up: Axis
    furthest: Sequence[Difference]
    n_ahead: int
    n_behind: int


@dataclass(frozen=True)
class SettingSpecificity:
    """The sources of a setting's specificity: how much better a probe does than on other features' examples."""

    name: str
    by_list: str
    by_tree: str


def verdicts(found: Comparison, across: int, up: int, common: bool) -> MeasureVerdicts:
    """Returns a verdict by every common measure, in the order of a report."""
    names = found.names[up], found.names[across]
    pairs = {
        measure: against(found.own(up, measure, common), found.own(across, measure, common), SEED)
        for measure in REPORTED
    }
    pairs = {measure: versus for measure, versus in pairs.items() if versus.difference.n}
    shown = [versus.difference for measure, versus in pairs.items() if measure not in _APART]
    axis = axis_over([0.0, *(end for one in shown for end in _ends(one))], FOREST)
    lines = [
        MeasureVerdict(
            measure=measure,
            unit=UNITS[measure],
            versus=versus,
            difference=estimate_words(versus.difference),
            sentence=versus_words(*names, versus, UNITS[measure]),
            side=_side_of(versus),
            drawn=None if measure in _APART else drawn(versus.difference, axis),
        )
        for measure, versus in pairs.items()
    ]
    return MeasureVerdicts(lines, axis)


def drawn(estimate: Estimate, axis: Axis) -> PlottedEstimate | None:
    """Places an estimate on an axis; None for none."""
    if estimate.value is None:
        return None
    low, high = (None if end is None else axis.at(end) for end in (estimate.low, estimate.high))
    return PlottedEstimate(axis.at(estimate.value), low, high)


def scatter(found: Comparison, across: int, up: int, measure: str, common: bool) -> Scatter | None:
    """The features that both have; None where there are none."""
    xs, ys = found.own(across, measure, common), found.own(up, measure, common)
    both = sorted(xs.keys() & ys.keys())
    if not both:
        return None
    every = [value for values in (xs, ys) for value in (values[f] for f in both)]
    bottom, side = axis_over(every, WIDTH), axis_over(every, HEIGHT)
    shown = both if len(both) <= MAX_POINTS else [both[i] for i in _spread(len(both), MAX_POINTS)]
    points = [
        ScatterPoint(f, bottom.at(xs[f]), side.up(ys[f]), _side(ys[f] - xs[f]), figure(xs[f]), figure(ys[f]))
        for f in shown
    ]
    versus = against(ys, xs, SEED)
    return Scatter(points, len(both), bottom, side, _furthest(xs, ys, both), versus.wins, versus.losses)


def sources(found: Comparison, places: Sequence[int], common: bool) -> list[SettingSpecificity]:
    """Returns the sources for settings that were also measured on other features' examples."""
    made = [
        SettingSpecificity(found.names[place], *(_lead(found, place, probe, common) for probe in ("list", "tree")))
        for place in places
    ]
    return [source for source in made if source.by_list and source.by_tree]


def _lead(found: Comparison, place: int, probe: str, common: bool) -> str:
    own, control = found.own(place, probe, common), found.control(place, probe, common)
    both = own.keys() & control.keys()
    lead = mean(in_order({f: own[f] - control[f] for f in both}), SEED)
    return "" if lead.value is None else f"{figure(lead.value)} {interval(lead)}".strip()


def _furthest(xs: Values, ys: Values, both: Sequence[int]) -> list[Difference]:
    ranked = sorted(both, key=lambda f: ys[f] - xs[f])
    ends = [*ranked[:MAX_LISTED], *ranked[MAX_LISTED:][-MAX_LISTED:]][::-1]
    most = max((abs(ys[f] - xs[f]) for f in ends), default=0.0) or 1.0
    return [_difference(f, xs[f], ys[f], most) for f in ends]


def _difference(feature: int, x: float, y: float, most: float) -> Difference:
    width = round(50 * abs(y - x) / most, 1)
    start = 50.0 if y >= x else round(50 - width, 1)
    return Difference(feature, figure(x), figure(y), figure(y - x), start, width, _side(y - x))


def _side(difference: float) -> Side:
    return "equal" if abs(difference) <= TIE else "ahead" if difference > 0 else "behind"


def _side_of(versus: PairedComparison) -> Side | None:
    if not versus.is_enough:
        return None
    return _side(versus.difference.value or 0.0) if versus.is_shown else "equal"


def _ends(estimate: Estimate) -> list[float]:
    return [end for end in (estimate.value, estimate.low, estimate.high) if end is not None]


def _spread(n: int, most: int) -> list[int]:
    found: list[int] = np.linspace(0, n - 1, most).round().astype(int).tolist()
    return found
