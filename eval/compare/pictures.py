"""Settings compared, in a picture: two as a scatter of pairs, several scales as curves, others as rows of intervals.

What is drawn is the measure that settings are chosen by, as on the comparison page; where no feature has a value of it,
the next one. Imported where a picture is wanted, since matplotlib takes its time.
"""

from collections.abc import Mapping

from matplotlib.figure import Figure

from eval.compare.grid import names_of
from eval.compare.measures import CHOSEN_BY, JOINT, UNITS
from eval.compare.report import SettingMeasures, in_order
from eval.metrics import mean
from eval.plots import Curve, IntervalPanel, PlotPoint, PlotRow, curves, interval_rows, paired_scatter
from probes.settings import ProbeSettings

Names = Mapping[ProbeSettings, str]
Values = Mapping[ProbeSettings, SettingMeasures]

SHOWN = (CHOSEN_BY, JOINT, "list", "tree")
CHANCE = 0.5


def picture(values: Values, names: Names, seed: int) -> Figure:
    """The picture that suits the settings."""
    measure = drawn_measure(values)
    if len(values) == 2:
        return _scatter(values, names, measure)
    scales = {setting.vector.distance for setting in values}
    if len(scales) > 2 and None not in scales:
        return _curves(values, measure, seed)
    return interval_rows([_panel(values, names, measure, seed) for measure in SHOWN])


def drawn_measure(values: Values) -> str:
    """The first of the measures that every setting has a value of."""
    return next((name for name in SHOWN if all(found.own[name] for found in values.values())), JOINT)


def _scatter(values: Values, names: Names, measure: str) -> Figure:
    """Feature by feature, the baseline along the bottom."""
    (first, a), (second, b) = values.items()
    both = sorted(a.own[measure].keys() & b.own[measure].keys())
    xs, ys = [a.own[measure][f] for f in both], [b.own[measure][f] for f in both]
    return paired_scatter(xs, ys, names[first], names[second], f"{UNITS[measure]} of each feature")


def _curves(values: Values, measure: str, seed: int) -> Figure:
    """The measure over the scale, one line for each combination of the rest."""
    families: dict[ProbeSettings, dict[float, SettingMeasures]] = {}
    for setting, found in values.items():
        rest = setting.model_copy(update={"vector": setting.vector.model_copy(update={"scale": None})})
        families.setdefault(rest, {})[setting.vector.distance or 0.0] = found
    names = names_of([*families])
    lines = [
        Curve(names[rest], sorted(scales), [_point(scales[scale], measure, seed) for scale in sorted(scales)])
        for rest, scales in families.items()
    ]
    return curves(lines, "scale", UNITS[measure])


def _panel(values: Values, names: Names, measure: str, seed: int) -> IntervalPanel:
    rows = [
        PlotRow(names[setting], _point(found, measure, seed), f"n = {len(found.own[measure]):,}", is_main=True)
        for setting, found in values.items()
    ]
    return IntervalPanel(UNITS[measure], rows, 0.0 if measure == CHOSEN_BY else CHANCE)


def _point(found: SettingMeasures, measure: str, seed: int) -> PlotPoint | None:
    estimate = mean(in_order(found.own[measure]), seed)
    return None if estimate.value is None else PlotPoint(estimate.value, estimate.low, estimate.high)
