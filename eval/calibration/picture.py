"""A calibration as a picture: what was said against what is so, and risk against coverage, before and after."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from eval.calibration.figures import CoveragePoint, ReliabilityBin, even_bins
from eval.calibration.report import CalibrationReport
from eval.metrics import Estimate
from eval.plots import Curve, CurvePanel, PlotPoint, curve_panels

NAMES = {"before": "stated confidence", "after": "calibrated, out of fold"}
_MAX_POINTS = 12
"""Points of a curve of risk."""


def calibration_figure(found: CalibrationReport, title: str = "") -> Figure:
    """Both panels."""
    said = {"before": found.before, "after": found.after}
    bins = [_reliability(NAMES[when], even_bins(some)) for when, some in said.items()]
    risks = [_risk(NAMES[when], some) for when, some in found.risks.items()]
    n = f"n = {len(found.table):,}"
    return curve_panels(
        [
            CurvePanel(f"reliability, {n}", bins, "stated probability", "proportion right", diagonal=True),
            CurvePanel(f"risk, {n}", risks, "coverage: labels kept, likeliest first", "proportion of them wrong"),
        ],
        title,
    )


def _reliability(name: str, bins: Sequence[ReliabilityBin]) -> Curve:
    return Curve(name, [one.said for one in bins], [_point(one.right) for one in bins])


def _risk(name: str, found: Sequence[CoveragePoint]) -> Curve:
    """Some of its points at about equal distances, the first and the last among them."""
    step = max(1, -(-len(found) // _MAX_POINTS))
    shown = sorted({*range(len(found) - 1, -1, -step)})
    return Curve(name, [found[place].coverage for place in shown], [_point(found[place].risk) for place in shown])


def _point(found: Estimate) -> PlotPoint | None:
    return None if found.value is None else PlotPoint(found.value, found.low, found.high)
