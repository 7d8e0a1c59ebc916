"""What the comparison page shows, counted from stored fits: two settings in a scatter, all of them as rows and curves.

Lengths are in the units of the view boxes that the template draws. Knows no request and no template; loads no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.comparisons import ComparisonRow
from agent.runlog import RunLog
from eval.compare.grid import names_of
from eval.compare.measures import UNITS
from eval.compare.report import Measured, Values, Versus, against, in_order, measured
from eval.compare.verdict import estimate_words, figure, interval, versus_words
from eval.metrics import Estimate, mean
from probes.settings import ProbeSettings

SIZE = 400
"""Of the scatter, both ways."""
CURVE_WIDTH, CURVE_HEIGHT = 400, 180
MOST_POINTS = 2000
FURTHEST = 8
"""Features listed on which two settings differ most, either way."""
SEED = 0


@dataclass(frozen=True)
class Point:
    """A feature in the scatter."""

    feature: int
    cx: float
    cy: float
    words: str


@dataclass(frozen=True)
class Scatter:
    """One setting along the bottom, the other up the side; on the diagonal they are equal."""

    points: Sequence[Point]
    n: int
    """Features that have both; more than points where there are too many to draw."""
    low: float
    high: float
    furthest: Sequence["Difference"]


@dataclass(frozen=True)
class Difference:
    """A feature on which the two differ much."""

    feature: int
    across: str
    up: str
    difference: str


@dataclass(frozen=True)
class Row:
    """A setting by the chosen measure."""

    place: int
    name: str
    mean: str
    control: str
    n: int
    ahead: Versus | None
    """Of the setting along the bottom; None for that setting itself."""
    ahead_words: str


@dataclass(frozen=True)
class Curve:
    """A measure over the scale, for one combination of the other settings."""

    name: str
    path: str
    """Of an SVG's polyline."""
    dots: Sequence[Point]


@dataclass(frozen=True)
class Figures:
    """A comparison by one measure."""

    names: Sequence[str]
    rows: Sequence[Row]
    has_control: bool
    """Whether the measure hangs on texts, so that there are those of other features."""
    scatter: Scatter | None
    verdict: str
    curves: Sequence[Curve]
    scales: tuple[float, float] | None
    """The least and the largest in the curves."""
    heights: tuple[float, float] | None


def figures(log: RunLog, comparison_id: int, across: int, up: int, measure: str) -> Figures:
    """The settings at the places `across` and `up` against each other, and all of them by the measure."""
    settings = log.comparisons.settings(comparison_id)
    names = names_of(settings)
    values = {setting: _measured(log, comparison_id, setting) for setting in settings}
    ours, theirs = values[settings[up]].own[measure], values[settings[across]].own[measure]
    versus = against(ours, theirs, SEED)
    verdict = versus_words(names[settings[up]], names[settings[across]], versus, UNITS[measure])
    curves = _curves(values, measure)
    rows = [_row(place, names[s], values[s], measure, theirs, place == across) for place, s in enumerate(settings)]
    return Figures(
        names=[names[setting] for setting in settings],
        rows=rows,
        has_control=any(row.control for row in rows),
        scatter=_scatter(theirs, ours) if theirs.keys() & ours.keys() else None,
        verdict=verdict if across != up else "",
        curves=curves.lines,
        scales=curves.scales,
        heights=curves.heights,
    )


def subject_words(row: ComparisonRow) -> str:
    """Which subject a comparison is of."""
    return f"{row.subject.name}, {row.subject.hook}"


def _measured(log: RunLog, comparison_id: int, setting: ProbeSettings) -> Measured:
    rows = log.comparisons.fits(comparison_id, setting)
    return measured(rows, {row.feature for row in rows})


def _row(place: int, name: str, found: Measured, measure: str, baseline: Values, is_baseline: bool) -> Row:
    own, control = found.own[measure], found.another.get(measure, {})
    versus = None if is_baseline else against(own, baseline, SEED)
    return Row(
        place=place,
        name=name,
        mean=estimate_words(mean(in_order(own), SEED)),
        control=estimate_words(mean(in_order(control), SEED)) if control else "",
        n=len(own),
        ahead=versus,
        ahead_words="" if versus is None else _difference_words(versus.difference),
    )


def _difference_words(difference: Estimate) -> str:
    return "" if difference.value is None else f"{figure(difference.value)} {interval(difference)}".strip()


def _scatter(across: Values, up: Values) -> Scatter:
    both = sorted(across.keys() & up.keys())
    every = [value for values in (across, up) for value in (values[f] for f in both)]
    low, high = min(every), max(every)
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return round(SIZE * (value - low) / span, 1)

    drawn = both if len(both) <= MOST_POINTS else [both[i] for i in _spread(len(both), MOST_POINTS)]
    points = [
        Point(f, at(across[f]), round(SIZE - at(up[f]), 1), f"feature {f}: {figure(across[f])}, {figure(up[f])}")
        for f in drawn
    ]
    ranked = sorted(both, key=lambda f: up[f] - across[f])
    ends = [*ranked[:FURTHEST], *ranked[FURTHEST:][-FURTHEST:]][::-1]
    furthest = [Difference(f, figure(across[f]), figure(up[f]), figure(up[f] - across[f])) for f in ends]
    return Scatter(points, len(both), low, high, furthest)


def _spread(n: int, most: int) -> list[int]:
    found: list[int] = np.linspace(0, n - 1, most).round().astype(int).tolist()
    return found


@dataclass(frozen=True)
class _Curves:
    lines: Sequence[Curve] = ()
    scales: tuple[float, float] | None = None
    heights: tuple[float, float] | None = None


def _curves(values: Mapping[ProbeSettings, Measured], measure: str) -> _Curves:
    """One for each combination that was measured at three scales or more."""
    families: dict[ProbeSettings, dict[float, float]] = {}
    for setting, found in values.items():
        estimate = mean(in_order(found.own[measure]), SEED)
        if setting.vector.distance is not None and estimate.value is not None:
            rest = setting.model_copy(update={"vector": setting.vector.model_copy(update={"scale": None})})
            families.setdefault(rest, {})[setting.vector.distance] = estimate.value
    families = {rest: means for rest, means in families.items() if len(means) > 2}
    if not families:
        return _Curves()
    scales = [scale for means in families.values() for scale in means]
    heights = [height for means in families.values() for height in means.values()]
    (left, right), (low, high) = (min(scales), max(scales)), (min(heights), max(heights))
    names = names_of([*families])

    def dot(scale: float, height: float) -> Point:
        x = CURVE_WIDTH * (scale - left) / (right - left)
        y = CURVE_HEIGHT * (1 - (height - low) / ((high - low) or 1.0))
        return Point(0, round(x, 1), round(y, 1), f"scale {scale:.4g}: {figure(height)}")

    lines = []
    for rest, means in families.items():
        dots = [dot(scale, means[scale]) for scale in sorted(means)]
        lines.append(Curve(names[rest], " ".join(f"{one.cx},{one.cy}" for one in dots), dots))
    return _Curves(lines, (left, right), (low, high))
