"""A calibration with all that is said of it: what it was fitted on, what was chosen, what it is worth out of fold."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.calibration.columns import COLUMNS, STATED, LabelWithEvidence, values_of
from eval.calibration.figures import (
    CalibrationMeasure,
    CoveragePoint,
    ReliabilityBin,
    StatedProbabilities,
    coverage_points,
    error_by_chance,
    measures,
    reliability,
)
from eval.calibration.fitting import CalibrationFit, CalibrationTable, fit
from eval.calibration.truth import JudgedLabel
from eval.metrics import Estimate, proportion
from probes.errors import SettingsError

MIN_LABELS = 30
"""Labels that are known to be right or wrong."""
MIN_GROUPS = 3
"""Concepts: one to judge by, one to choose a map on, one to fit it on."""
FEW = 10
"""Labels of one kind, below which hardly anything can be told from the other kind."""
_MIN_KNOWN_SHARE = 0.9
"""Share of the labels of which a column must be known: those of which it is not are left out with it."""


@dataclass(frozen=True)
class CalibrationReport:
    """The outcome of a calibration, with its figures."""

    table: CalibrationTable
    fitted: CalibrationFit
    n_left_out: int
    """Labels of which something is not known that the others have."""
    dropped: Sequence[str]
    """Columns that are known of too few labels."""
    before: StatedProbabilities
    after: StatedProbabilities
    measures: Sequence[CalibrationMeasure]
    by_chance: float
    """The calibration error that perfect probabilities would show."""

    @property
    def right(self) -> Estimate:
        """The share of the labels that are right."""
        return proportion(sum(self.table.truth), len(self.table))

    @property
    def bins(self) -> dict[str, list[ReliabilityBin]]:
        """Reliability, before and after."""
        return {"before": reliability(self.before), "after": reliability(self.after)}

    @property
    def risks(self) -> dict[str, list[CoveragePoint]]:
        """Risk against coverage, before and after."""
        return {"before": coverage_points(self.before), "after": coverage_points(self.after)}

    def as_json(self) -> dict[str, Any]:
        """All of it but the labels themselves."""
        fitted = self.fitted
        losses = {name: float(np.mean(found)) for name, found in fitted.losses.items()}
        return {
            "n": len(self.table),
            "n_right": sum(self.table.truth),
            "right": asdict(self.right),
            "groups": len({*self.table.groups}),
            "left_out": self.n_left_out,
            "columns": {name: COLUMNS[name].words for name in self.table.names},
            "columns_dropped": [*self.dropped],
            "folds": len({*fitted.folds}),
            "log_loss_by_candidate": losses,
            "chosen": fitted.chosen,
            "chosen_in_folds": [*fitted.chosen_in],
            "map": fitted.map.model_dump(mode="json"),
            "measures": self.measures_json(),
            "reliability": {when: [asdict(one) for one in found] for when, found in self.bins.items()},
            "risk": {when: [asdict(one) for one in found] for when, found in self.risks.items()},
        }

    def measures_json(self) -> dict[str, Any]:
        """Each figure, before and after, out of fold."""
        found: dict[str, Any] = {one.name: {w: asdict(getattr(one, w)) for w in _WHEN} for one in self.measures}
        return found | {"expected calibration error by chance": self.by_chance}


_WHEN = ("before", "after", "change")


def report(found: Sequence[JudgedLabel], known: Sequence[LabelWithEvidence], by: str, seed: int) -> CalibrationReport:
    """Fits on these labels and judges the fit. `by` is what they are right by, in words.

    Raises SettingsError where they are too few, of one kind, or of one concept.
    """
    _check(len(found), sum(one.is_right for one in found), len({one.group for one in found}), by)
    values = [values_of(one, [*COLUMNS]) for one in known]
    names = _columns(values)
    kept = [place for place, row in enumerate(values) if all(row[name] is not None for name in names)]
    table = CalibrationTable(
        names=names,
        values=np.array([[values[place][name] for name in names] for place in kept], dtype=np.float64),
        truth=tuple(found[place].is_right for place in kept),
        groups=tuple(found[place].group for place in kept),
    )
    _check(len(table), sum(table.truth), len({*table.groups}), by)
    fitted = fit(table, seed)
    before = StatedProbabilities(table.column(STATED).tolist(), table.truth, table.groups)
    after = StatedProbabilities(fitted.probabilities, table.truth, table.groups)
    return CalibrationReport(
        table=table,
        fitted=fitted,
        n_left_out=len(found) - len(table),
        dropped=[name for name in COLUMNS if name not in names],
        before=before,
        after=after,
        measures=measures(before, after, seed),
        by_chance=error_by_chance(after, seed),
    )


def _columns(values: Sequence[Mapping[str, float | None]]) -> tuple[str, ...]:
    """The stated confidence, and what else is known of nearly all labels."""
    n_known = {name: sum(row[name] is not None for row in values) for name in COLUMNS}
    return tuple(name for name in COLUMNS if name == STATED or n_known[name] >= _MIN_KNOWN_SHARE * len(values))


def _check(n: int, n_right: int, n_groups: int, by: str) -> None:
    more = "Label or score more features, name more runs, or take another --truth."
    if n < MIN_LABELS:
        raise SettingsError(
            f"Only {n} labels with all that a calibration needs are known to be right or wrong, by {by}, and at least "
            f"{MIN_LABELS} must be. {more}"
        )
    if n_right in (0, n):
        kind = "right" if n_right else "wrong"
        raise SettingsError(f"All {n} labels are {kind}, by {by}, so there is nothing to calibrate. {more}")
    if n_groups < MIN_GROUPS:
        raise SettingsError(
            f"All {n} labels are of {n_groups} {'concept' if n_groups == 1 else 'concepts'}, and at least {MIN_GROUPS} "
            f"are needed: one to judge by, and others to choose a map on and to fit it on. {more}"
        )
